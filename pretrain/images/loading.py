"""Batches of views, read by worker processes: each image's views depend on (seed, epoch, image index) alone.

The global batch of an iteration is a slice of the epoch's permutation and each process takes its part of it
(order.py), so a run resumes at any iteration without reading what it skips. An image that cannot be read is named,
counted, and replaced by another draw.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmark.core.errors import RunFailed
from pretrain.engine.workers import start_worker
from pretrain.images.listing import PathList
from pretrain.images.order import GlobalBatches
from pretrain.images.recipe import IMAGENET_MEAN, IMAGENET_STD, ViewSettings
from pretrain.images.views import make_views

MAX_DRAWS = 10  # images tried for one place in a batch before the folder counts as unreadable
MAX_BYTES = 1 << 28  # of an image file: 256 MB, beyond any photograph


class FolderUnreadable(RunFailed):
    """One process met only unreadable images; the others do not know it."""


@dataclass(frozen=True)
class Batch:
    """This process's part of a global batch.

    Attributes:
        views: one (B, S, S, 3) uint8 RGB tensor for each view; ``normalised`` makes network input of one.
        labels: (B,) int64, the class of each image that is shown; None where the loader has no labels.
        unreadable: paths met in this batch that could not be read (each replaced by another image).
        failure: why the batch could not be filled; None when it is whole.
    """

    views: tuple[Tensor, ...]
    labels: Tensor | None
    unreadable: tuple[str, ...]
    failure: str | None = None

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory, for fast copies to a GPU (called by DataLoader)."""
        views = tuple(view.pin_memory() for view in self.views)
        labels = None if self.labels is None else self.labels.pin_memory()
        return Batch(views, labels, self.unreadable, self.failure)


Levels = tuple[float, float, float]


def normalised(view: Tensor, device: torch.device, mean: Levels = IMAGENET_MEAN, std: Levels = IMAGENET_STD) -> Tensor:
    """Return network input (B, 3, S, S) float32, channels last in memory, from (B, S, S, 3) uint8.

    `mean` and `std` are of levels in [0, 1], as in ``ViewRecipe``.
    """
    rows = view.to(device, non_blocking=True).flatten(1).to(torch.float32, copy=True)
    offset, scale = _statistics(device, mean, std, rows.shape[1] // 3)
    return rows.sub_(offset).div_(scale).view(view.shape).permute(0, 3, 1, 2)


@cache
def _statistics(device: torch.device, mean: Levels, std: Levels, pixels: int) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation for every number of an image of that many pixels, (3 * pixels,), kept.

    Written out, because a CPU broadcasts three numbers over rows twenty times slower; kept on the device, since every
    copy to a GPU waits for it.
    """
    offset, scale = (torch.tensor(values, device=device).mul(255).repeat(pixels) for values in (mean, std))
    return offset, scale


def read_image(path: str) -> bytes:
    """Return the content of an image file.

    Raises ``OSError`` for what cannot be read, is no regular file (a pipe would make its reader wait for ever), or is
    larger than 256 MB.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise OSError(f"{path} is no regular file of at most {MAX_BYTES} bytes")
        with open(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Sample:
    """The views of one image, (S, S, 3) uint8 each; ``label`` of it, -1 without labels.

    ``unreadable`` are the paths that could not be read before it; ``whole`` is False when no image could be.
    """

    views: tuple[np.ndarray, ...]
    label: int
    unreadable: tuple[str, ...]
    whole: bool = True


class AugmentedImages(Dataset[Sample]):
    """Maps (epoch, index) to the views of the image, or of its replacement when it cannot be read.

    Args:
        paths: the images.  settings: of the views.  seed: of the run.
        labels: (n,) integers, the class of every image; None where the method needs none.
    """

    def __init__(self, paths: PathList, settings: ViewSettings, seed: int, labels: np.ndarray | None = None):
        self.paths, self.settings, self.seed, self.labels = paths, settings, seed, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Return the sample for a place in an epoch's order.

        The parameters of the views belong to the place, so a replacement is no copy of that image's own views. After
        ``MAX_DRAWS`` unreadable images the views are black.
        """
        epoch, place = key
        rng, index = None, place
        unreadable: list[str] = []
        for _ in range(MAX_DRAWS):
            path = self.paths[index]
            try:
                views = make_views(read_image(path), (self.seed, epoch, place), self.settings)
                return Sample(views, -1 if self.labels is None else int(self.labels[index]), tuple(unreadable))
            except (OSError, ValueError):
                unreadable.append(os.fsencode(path).decode("utf-8", "backslashreplace"))  # fit for any log
            rng = rng or np.random.default_rng(np.random.SeedSequence((self.seed, epoch, place, 11)))
            index = int(rng.integers(len(self.paths)))
        black = np.zeros((self.settings.image_size, self.settings.image_size, 3), np.uint8)
        return Sample((black,) * len(self.settings.recipes), -1, tuple(unreadable), whole=False)

    def collate(self, samples: list[Sample]) -> Batch:
        """Stack samples to a ``Batch``."""
        views = tuple(torch.from_numpy(np.stack(view)) for view in zip(*(s.views for s in samples), strict=True))
        labels = None if self.labels is None else torch.tensor([sample.label for sample in samples])
        failures = [_failure(sample) for sample in samples if not sample.whole]
        unreadable = tuple(path for sample in samples for path in sample.unreadable)
        return Batch(
            tuple(torch.from_numpy(np.stack(view)) for view in views), labels, unreadable, next(iter(failures), None)
        )


def _failure(sample: Sample) -> str:
    first, second, *_ = sample.unreadable
    return f"{len(sample.unreadable)} images in a row cannot be read, such as {first} and {second}; check --data"


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
    labels: np.ndarray | None = None,
    pin_memory: bool = False,
) -> ViewLoader:
    """Return a loader of ``Batch`` from `start_iteration` on; `batch_size` is that of one process.

    `labels` are the classes of all images, (n,) integers, for methods that need them (``labels_from_folders``).
    Iterating raises ``FolderUnreadable`` when ten images in a row cannot be read.
    """
    sampler = GlobalBatches(len(paths), batch_size, seed, rank, world_size, start_iteration, total_iterations)
    images = AugmentedImages(paths, settings, seed, labels)
    return ViewLoader(
        images,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=images.collate,
        worker_init_fn=_start_worker,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator().manual_seed(seed),  # for the workers' seeds, else taken from the run's own state
    )


def _start_worker(number: int) -> None:
    """One thread a worker: OpenCV's own threads would fight with the other workers, and can hang after a fork."""
    start_worker(number)
    cv2.setNumThreads(0)
