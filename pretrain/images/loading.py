"""Batches of views, read by worker processes: each image's views depend on (seed, epoch, image index) alone.

The global batch of an iteration is a slice of the epoch's permutation and each process takes its part of it
(order.py), so a run resumes at any iteration without reading what it skips. An image that cannot be read is named,
counted, and replaced by another draw.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from benchmark.core.errors import RunFailed
from pretrain.engine.workers import start_worker
from pretrain.images.collection import Images, SourceLost
from pretrain.images.encoded import Encoded, EncodedBatch, NotDecoded, encoded, joined, views_on
from pretrain.images.order import GlobalBatches
from pretrain.images.recipe import IMAGENET_MEAN, IMAGENET_STD, ViewSettings
from pretrain.images.views import make_views

CPU = torch.device("cpu")
MAX_DRAWS = 10  # images tried for one place in a batch before the folder counts as unreadable


class FolderUnreadable(RunFailed):
    """One process met only unreadable images, or a shard or server that is gone; the others do not know it."""


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


@dataclass(frozen=True)
class Sample:
    """The views of one image, (S, S, 3) uint8 each, or the image for a device to make them; ``label``, -1 without.

    ``unreadable`` are the paths that could not be read before it; ``failure`` says why no image could be read.
    """

    views: tuple[np.ndarray, ...] | Encoded
    label: int
    unreadable: tuple[str, ...]
    failure: str | None = None


class AugmentedImages(Dataset[Sample]):
    """Maps (epoch, index) to the views of the image, or of its replacement when it cannot be read.

    Args:
        paths: the images.  settings: of the views.  seed: of the run.
        labels: (n,) integers, the class of every image; None where the method needs none.
    """

    def __init__(self, paths: Images, settings: ViewSettings, seed: int, labels: np.ndarray | None = None):
        self.paths, self.settings, self.seed, self.labels = paths, settings, seed, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Return the sample for a place in an epoch's order.

        The parameters of the views belong to the place, so a replacement is no copy of that image's own views. After
        ``MAX_DRAWS`` unreadable images the views are black.
        """
        return self._sample(key, self._made)

    def _sample(self, key: tuple[int, int], make: Callable[[bytes, tuple[int, int]], Any]) -> Sample:
        """Return the sample that `make` makes of the first image for this place that can be read."""
        epoch, place = key
        rng, index = None, place
        unreadable: list[str] = []
        for _ in range(MAX_DRAWS):
            path = self.paths[index]
            try:
                views = make(self.paths.read(index), key)
                return Sample(views, -1 if self.labels is None else int(self.labels[index]), tuple(unreadable))
            except SourceLost as error:
                return self._black(unreadable, str(error))
            except (OSError, ValueError):
                unreadable.append(os.fsencode(path).decode("utf-8", "backslashreplace"))  # fit for any log
            rng = rng or np.random.default_rng(np.random.SeedSequence((self.seed, epoch, place, 11)))
            index = int(rng.integers(len(self.paths)))
        return self._black(unreadable, _too_many(unreadable))

    def _made(self, content: bytes, key: tuple[int, int]) -> Any:
        return make_views(content, (self.seed, *key), self.settings)

    def _black(self, unreadable: list[str], failure: str) -> Sample:
        black = np.zeros((self.settings.image_size, self.settings.image_size, 3), np.uint8)
        return Sample((black,) * len(self.settings.recipes), -1, tuple(unreadable), failure)

    def collate(self, samples: list[Sample]) -> Batch | EncodedBatch:
        """Stack samples to a ``Batch``, or what becomes one by ``finished``."""
        # In a worker torch's own function stacks directly into the memory that it shares with the training process.
        views = default_collate([tuple(map(torch.from_numpy, sample.views)) for sample in samples])
        return Batch(tuple(views), *self._beside(samples))

    def _beside(self, samples: list[Sample]) -> tuple[Tensor | None, tuple[str, ...], str | None]:
        """Return labels, unreadable paths and the first failure of some samples."""
        labels = None if self.labels is None else torch.tensor([sample.label for sample in samples])
        failures = [sample.failure for sample in samples if sample.failure]
        unreadable = tuple(path for sample in samples for path in sample.unreadable)
        return labels, unreadable, next(iter(failures), None)

    def finished(self, batch: Any, device: torch.device) -> Batch:
        """Return what a worker has sent as a batch: as it is."""
        return batch


class ImagesForDevice(AugmentedImages):
    """Maps (epoch, index) to an image whose views a device makes (``--views gpu``); see ``encoded.py``."""

    def _made(self, content: bytes, key: tuple[int, int]) -> Encoded:
        return encoded(content, self.seed, key, self.settings)

    def _checked(self, content: bytes, key: tuple[int, int]) -> Encoded:
        return encoded(content, self.seed, key, self.settings, trusting=False)

    def collate(self, samples: list[Sample]) -> EncodedBatch:
        """Join samples to an ``EncodedBatch``; one that has failed holds no images."""
        labels, unreadable, failure = self._beside(samples)
        if failure:
            return EncodedBatch(torch.zeros(0, dtype=torch.uint8), (), labels, unreadable, failure)
        return EncodedBatch(*joined([sample.views for sample in samples]), labels, unreadable)

    def finished(self, batch: EncodedBatch, device: torch.device) -> Batch:
        """Make the views of a batch on the device; images that turn out damaged are replaced as all others are."""
        for _ in range(2):
            try:
                views = views_on(device, batch, self.settings)
                return Batch(views, batch.labels, batch.unreadable, batch.failure)
            except NotDecoded as error:
                batch = self._mended(batch, error.places)
                if batch.failure:
                    break
        return Batch((), batch.labels, batch.unreadable, batch.failure or "images cannot be decoded; check --data")

    def _mended(self, batch: EncodedBatch, places: list[int]) -> EncodedBatch:
        """Return a batch with the images at some places read again, decoded on the CPU and replaced where need be."""
        contents = batch.content.numpy()
        ends = np.cumsum([image.length for image in batch.images])
        images = [
            replace(image, content=contents[end - image.length : end])
            for image, end in zip(batch.images, ends, strict=True)
        ]
        samples = [self._sample(images[place].key, self._checked) for place in places]
        labels, unreadable, failure = self._beside(samples)
        if failure:
            return replace(batch, unreadable=batch.unreadable + unreadable, failure=failure)
        for place, sample in zip(places, samples, strict=True):
            images[place] = sample.views
        if labels is not None:
            labels = batch.labels.index_copy(0, torch.tensor(places), labels)
        return EncodedBatch(*joined(images), labels, batch.unreadable + unreadable)


def _too_many(unreadable: list[str]) -> str:
    first, second, *_ = unreadable
    return f"{len(unreadable)} images in a row cannot be read, such as {first} and {second}; check --data"


class ViewLoader(DataLoader):
    """A DataLoader that raises ``FolderUnreadable`` here; raised in a worker it would arrive with a traceback.

    Args:
        images: what to load.  device: where views are made that workers do not make.  settings: of DataLoader.
    """

    def __init__(self, images: AugmentedImages, device: torch.device, **settings: Any):
        super().__init__(images, collate_fn=images.collate, **settings)
        self.images, self.device = images, device

    def __iter__(self) -> Iterator[Batch]:
        for sent in super().__iter__():
            batch = sent if sent.failure else self.images.finished(sent, self.device)
            if batch.failure:
                raise FolderUnreadable(batch.failure)
            yield batch


def make_loader(
    paths: Images,
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
    device: torch.device = CPU,
) -> ViewLoader:
    """Return a loader of ``Batch`` from `start_iteration` on; `batch_size` is that of one process.

    `labels` are the classes of all images, (n,) integers, for methods that need them (``find_labels``). With the engine
    ``gpu`` the views are made on `device` and lie there, else they come from the workers in the computer's memory.
    Iterating raises ``FolderUnreadable`` when ten images in a row cannot be read, or what holds them is lost.
    """
    sampler = GlobalBatches(len(paths), batch_size, seed, rank, world_size, start_iteration, total_iterations)
    on_device = settings.engine == "gpu"
    images = (ImagesForDevice if on_device else AugmentedImages)(paths, settings, seed, labels)
    return ViewLoader(
        images,
        device,
        batch_sampler=sampler,
        num_workers=workers,
        worker_init_fn=_start_worker,
        pin_memory=pin_memory and not on_device,  # a device's decoder takes files from where they are
        prefetch_factor=4 if workers else None,
        generator=torch.Generator().manual_seed(seed),  # for the workers' seeds, else taken from the run's own state
    )


def _start_worker(number: int) -> None:
    """One thread a worker: OpenCV's own threads would fight with the other workers, and can hang after a fork."""
    start_worker(number)
    cv2.setNumThreads(0)
