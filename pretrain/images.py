"""An image folder as batches of two views: order and augmentation depend on (seed, epoch, image index) alone.

The global batch of an iteration is a slice of the epoch's permutation and each process takes its part of it, so
neither the number of workers nor of processes changes which images are seen when, and a run resumes at any iteration
without reading what it skips. An image that cannot be read is named, counted, and replaced by another draw.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmark.errors import UserError
from pretrain.views import MEAN, STD, ViewSettings, two_views

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif")
MAX_DRAWS = 10  # replacements tried for one image before the folder counts as unreadable


class PathList:
    """Millions of file paths in two arrays, which worker processes share: no Python object a path to copy."""

    def __init__(self, root: str | Path, names: list[str]):
        self.root = str(root)
        encoded = [os.fsencode(name) for name in names]
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        self._text = np.frombuffer(b"".join(encoded), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        begin = self._ends[index - 1] if index else 0
        return os.path.join(self.root, os.fsdecode(self._text[begin : self._ends[index]].tobytes()))


def list_images(root: str | Path, limit: int | None = None) -> PathList:
    """Return all images under `root` (class folders or flat, any depth) in the order of their names.

    Args:
        root: a folder; hidden files and folders are passed over, links to folders are followed.
        limit: keep this many, evenly spaced; None keeps all.

    Raises:
        UserError: no such folder, no images in it, or fewer than `limit`.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; give --data the folder that holds the images.")
    names = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(folder, root)
        names += [
            os.path.normpath(os.path.join(inside, name))
            for name in files
            if name.lower().endswith(ENDINGS) and not name.startswith(".")
        ]
    if not names:
        raise UserError(f"{root} holds no images (looked for {', '.join(ENDINGS)} at any depth); check --data.")
    names.sort()
    if limit is not None:
        if limit > len(names):
            raise UserError(f"{root} holds {len(names)} images, fewer than --images {limit}; give a smaller number.")
        names = [names[i * len(names) // limit] for i in range(limit)]
    return PathList(root, names)


def epoch_length(images: int, global_batch: int) -> int:
    """Return the iterations of one epoch; the last incomplete batch is dropped (other images each epoch)."""
    return images // global_batch


def epoch_order(images: int, seed: int, epoch: int) -> np.ndarray:
    """Return the permutation of ``range(images)`` that epoch `epoch` (from 0) runs through."""
    dtype = np.int32 if images < 2**31 else np.int64
    order = np.arange(images, dtype=dtype)
    np.random.default_rng(np.random.SeedSequence((seed, epoch, 0, 7))).shuffle(order)
    return order


@dataclass(frozen=True)
class Batch:
    """This process's part of a global batch.

    Attributes:
        view_1, view_2: (B, S, S, 3) uint8 RGB; ``normalised`` makes network input of one.
        index: (B,) int64, number of each image in the folder's order.
        unreadable: paths met in this batch that could not be read (each replaced by another image).
    """

    view_1: Tensor
    view_2: Tensor
    index: Tensor
    unreadable: tuple[str, ...]

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory, for fast copies to a GPU (called by DataLoader)."""
        views = (self.view_1.pin_memory(), self.view_2.pin_memory())
        return Batch(*views, self.index.pin_memory(), self.unreadable)


def normalised(view: Tensor, device: torch.device) -> Tensor:
    """Return network input (B, 3, S, S) float32, channels last in memory, from (B, S, S, 3) uint8."""
    view = view.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    mean = torch.from_numpy(MEAN * 255).to(device).view(1, 3, 1, 1)
    std = torch.from_numpy(STD * 255).to(device).view(1, 3, 1, 1)
    return (view - mean) / std


class TwoViews(Dataset[tuple]):
    """Maps (epoch, index) to two views of the image, or of its replacement when it cannot be read."""

    def __init__(self, paths: PathList, settings: ViewSettings, seed: int):
        self.paths, self.settings, self.seed = paths, settings, seed

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, int, list[str]]:
        epoch, index = key
        rng = None
        unreadable: list[str] = []
        for _ in range(MAX_DRAWS):
            path = self.paths[index]
            try:
                with open(path, "rb") as file:
                    content = file.read()
                return (*two_views(content, (self.seed, epoch, index), self.settings), index, unreadable)
            except (OSError, ValueError, SyntaxError):  # what Pillow raises for damaged files of its formats
                unreadable.append(path)
            rng = rng or np.random.default_rng(np.random.SeedSequence((self.seed, epoch, index, 11)))
            index = int(rng.integers(len(self.paths)))
        raise UserError(
            f"{MAX_DRAWS} images in a row cannot be read, such as {unreadable[0]} and {unreadable[1]}; check --data."
        )


class GlobalBatches(Sampler[list[tuple[int, int]]]):
    """Yields this process's (epoch, index) pairs of each iteration from `start` to `stop`."""

    def __init__(self, images: int, batch: int, seed: int, rank: int, world: int, start: int, stop: int):
        self.images, self.batch, self.seed = images, batch, seed
        self.rank, self.world, self.start, self.stop = rank, world, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        length = epoch_length(self.images, self.batch * self.world)
        order, current = None, -1
        for iteration in range(self.start, self.stop):
            epoch, step = divmod(iteration, length)
            if epoch != current:
                order, current = epoch_order(self.images, self.seed, epoch), epoch
            begin = (step * self.world + self.rank) * self.batch
            yield [(epoch, int(index)) for index in order[begin : begin + self.batch]]


def collate(items: list[tuple]) -> Batch:
    """Stack samples of ``TwoViews`` to a ``Batch``."""
    first, second, index, unreadable = zip(*items, strict=True)
    stack = [torch.from_numpy(np.stack(views)) for views in (first, second)]
    return Batch(*stack, torch.tensor(index), tuple(path for paths in unreadable for path in paths))


def make_loader(
    paths: PathList,
    settings: ViewSettings,
    *,
    batch_size: int,
    seed: int,
    workers: int,
    rank: int = 0,
    world_size: int = 1,
    start_iteration: int = 0,
    total_iterations: int,
    pin_memory: bool = False,
) -> DataLoader:
    """Return a loader of ``Batch`` from `start_iteration` on; `batch_size` is that of one process."""
    sampler = GlobalBatches(len(paths), batch_size, seed, rank, world_size, start_iteration, total_iterations)
    return DataLoader(
        TwoViews(paths, settings, seed),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_start_worker,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
    )


def _start_worker(_: int) -> None:
    """One thread a worker: OpenCV's own threads would fight with the other workers, and can hang after a fork."""
    cv2.setNumThreads(0)
