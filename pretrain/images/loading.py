"""An image folder as batches of views: order and augmentation depend on (seed, epoch, image index) alone.

The global batch of an iteration is a slice of the epoch's permutation and each process takes its part of it, so
neither the number of workers nor of processes changes which images are seen when, and a run resumes at any iteration
without reading what it skips. An image that cannot be read is named, counted, and replaced by another draw.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmark.core.errors import RunFailed, UserError
from pretrain.engine.workers import start_worker
from pretrain.images.recipe import IMAGENET_MEAN, IMAGENET_STD, ViewSettings
from pretrain.images.views import make_views

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif")
MAX_DRAWS = 10  # images tried for one place in a batch before the folder counts as unreadable
SIZED = 100  # files whose sizes enter the fingerprint: one stat each, also for 14 million images


class FolderUnreadable(RunFailed):
    """One process met only unreadable images; the others do not know it."""


class PathList:
    """Millions of file paths in two arrays, which worker processes share: no Python object a path to copy."""

    def __init__(self, root: str | Path, names: list[str]):
        self.root = str(root)
        text, lengths = bytearray(), np.empty(len(names), dtype=np.int64)
        for place, name in enumerate(names):
            encoded = os.fsencode(name)
            lengths[place] = len(encoded)
            text += encoded
        self._ends = np.cumsum(lengths)
        self._text = np.frombuffer(text, dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        begin = self._ends[index - 1] if index else 0
        return os.path.join(self.root, os.fsdecode(self._text[begin : self._ends[index]].tobytes()))

    def identity(self) -> dict[str, Any]:
        """Return what tells this set of images from another, wherever its folder lies.

        ``count``, and ``fingerprint``: 16 hexadecimal digits of the SHA-256 over all names below the folder and the
        sizes in bytes of up to 100 files, evenly spaced.
        """
        digest = hashlib.sha256(self._text)
        digest.update(self._ends)
        for place in range(0, len(self), -(-len(self) // SIZED)):
            try:
                digest.update(b"%d " % os.stat(self[place]).st_size)
            except OSError:  # it will be met, named and counted in training
                digest.update(b"none ")
        return {"count": len(self), "fingerprint": digest.hexdigest()[:16]}


def list_images(root: str | Path, limit: int | None = None) -> PathList:
    """Return all images under `root` (class folders or flat, any depth) in the order of their names.

    Args:
        root: a folder; hidden files and folders are passed over; links to folders are followed, except to a folder
            that the link itself lies in.
        limit: keep this many, evenly spaced; None keeps all.

    Raises:
        UserError: no such folder, a folder that cannot be listed, no images, or fewer than `limit`.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; give --data the folder that holds the images.")
    names = []
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and not _leads_back(root, folder, name)]
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


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be listed ({error.strerror}); check its permissions.") from None


def _leads_back(root: Path, folder: str, name: str) -> bool:
    """Say whether `name` is a link to one of the folders that it was reached through."""
    path = os.path.join(folder, name)
    if not os.path.islink(path):
        return False
    through, here = [os.path.realpath(root)], root
    for part in Path(folder).relative_to(root).parts:
        here = here / part
        through.append(os.path.realpath(here))
    return os.path.realpath(path) in through


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
        views: one (B, S, S, 3) uint8 RGB tensor for each view; ``normalised`` makes network input of one.
        index: (B,) int64, number of each image in the folder's order.
        unreadable: paths met in this batch that could not be read (each replaced by another image).
        failure: why the batch could not be filled; None when it is whole.
    """

    views: tuple[Tensor, ...]
    index: Tensor
    unreadable: tuple[str, ...]
    failure: str | None = None

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory, for fast copies to a GPU (called by DataLoader)."""
        views = tuple(view.pin_memory() for view in self.views)
        return Batch(views, self.index.pin_memory(), self.unreadable, self.failure)


Levels = tuple[float, float, float]


def normalised(view: Tensor, device: torch.device, mean: Levels = IMAGENET_MEAN, std: Levels = IMAGENET_STD) -> Tensor:
    """Return network input (B, 3, S, S) float32, channels last in memory, from (B, S, S, 3) uint8.

    `mean` and `std` are of levels in [0, 1], as in ``ViewRecipe``.
    """
    view = view.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    offset, scale = _statistics(device, mean, std)
    return (view - offset) / scale


@cache
def _statistics(device: torch.device, mean: Levels, std: Levels) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation on the device; kept there, since every copy to a GPU waits for it."""
    offset, scale = (torch.tensor(values, device=device).mul(255).view(1, 3, 1, 1) for values in (mean, std))
    return offset, scale


class AugmentedImages(Dataset[tuple]):
    """Maps (epoch, index) to the views of the image, or of its replacement when it cannot be read."""

    def __init__(self, paths: PathList, settings: ViewSettings, seed: int):
        self.paths, self.settings, self.seed = paths, settings, seed

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> tuple[tuple[np.ndarray, ...], int, list[str]]:
        """Return the views, the number of the image shown, and the paths that could not be read before it.

        The parameters of the views belong to the place in the order, so a replacement is no copy of that image's own
        views. After ``MAX_DRAWS`` unreadable images the number is -1 and the views are black.
        """
        epoch, place = key
        rng, index = None, place
        unreadable: list[str] = []
        for _ in range(MAX_DRAWS):
            path = self.paths[index]
            try:
                with open(path, "rb") as file:
                    content = file.read()
                return make_views(content, (self.seed, epoch, place), self.settings), index, unreadable
            except (OSError, ValueError):
                unreadable.append(path)
            rng = rng or np.random.default_rng(np.random.SeedSequence((self.seed, epoch, place, 11)))
            index = int(rng.integers(len(self.paths)))
        black = np.zeros((self.settings.image_size, self.settings.image_size, 3), np.uint8)
        return (black,) * len(self.settings.recipes), -1, unreadable


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
    """Stack samples of ``AugmentedImages`` to a ``Batch``."""
    views, index, unreadable = zip(*items, strict=True)
    stack = tuple(torch.from_numpy(np.stack(view)) for view in zip(*views, strict=True))
    failure = None
    if -1 in index:
        paths = unreadable[index.index(-1)]
        failure = f"{len(paths)} images in a row cannot be read, such as {paths[0]} and {paths[1]}; check --data"
    return Batch(stack, torch.tensor(index), tuple(path for paths in unreadable for path in paths), failure)


class ViewLoader(DataLoader):
    """A DataLoader that raises ``FolderUnreadable`` here; raised in a worker it would arrive with a traceback."""

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            if batch.failure:
                raise FolderUnreadable(batch.failure)
            yield batch


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
) -> ViewLoader:
    """Return a loader of ``Batch`` from `start_iteration` on; `batch_size` is that of one process.

    Iterating raises ``FolderUnreadable`` when ten images in a row cannot be read.
    """
    sampler = GlobalBatches(len(paths), batch_size, seed, rank, world_size, start_iteration, total_iterations)
    return ViewLoader(
        AugmentedImages(paths, settings, seed),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_start_worker,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator().manual_seed(seed),  # for the workers' seeds, else taken from the run's own state
    )


def _start_worker(number: int) -> None:
    """One thread a worker: OpenCV's own threads would fight with the other workers, and can hang after a fork."""
    start_worker(number)
    cv2.setNumThreads(0)
