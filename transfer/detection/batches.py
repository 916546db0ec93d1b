"""Training batches of a detector: order and augmentation depend on (seed, position) alone, so that runs resume exactly.

Detectron2's own loader restarts its sampler, and its workers draw augmentations from generators of their own. Here the
order is the same endless stream of permutations, dealt to the processes and grouped by orientation as Detectron2 does,
but a resumed run skips what it has seen (indices only, nothing is read), and an image is augmented from a generator
keyed by its position in the stream, whatever worker has it.
"""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, DatasetMapper, get_detection_dataset_dicts
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmark.core.errors import RunFailed
from pretrain.engine.workers import start_worker

TRAINING, STATISTICS = 0, 1  # purposes of a stream: PreciseBN sees other permutations than training


class Unreadable(NamedTuple):
    """Stands for an image that could not be read; raised in the main process, with a sentence."""

    path: str
    reason: str


class TrainingBatches(Sampler[list[tuple[int, int]]]):
    """Yields this process's batches of (position, image index) from iteration `start` to `stop`.

    Args:
        wide: (n,) bool, whether each image is wider than high; images of a batch agree in it when `grouped`.
        batch: images of a batch of this process.
        grouped: Detectron2's DATALOADER.ASPECT_RATIO_GROUPING.
        seed, purpose: of the order.  rank, world: of this process.
    """

    def __init__(
        self, wide: np.ndarray, batch: int, *, grouped: bool, seed: int, rank: int, world: int, start: int, stop: int,
        purpose: int = TRAINING,
    ):  # fmt: skip
        self.wide, self.batch, self.grouped = wide, batch, grouped
        self.seed, self.purpose, self.rank, self.world = seed, purpose, rank, world
        self.start, self.stop = start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        waiting: dict[bool, list[tuple[int, int]]] = {False: [], True: []}
        made = 0
        for position, index in self._stream():
            if made == self.stop:
                return
            group = waiting[bool(self.wide[index]) and self.grouped]
            group.append((position, index))
            if len(group) == self.batch:
                if made >= self.start:
                    yield list(group)
                group.clear()
                made += 1

    def _stream(self) -> Iterator[tuple[int, int]]:
        """Yield every `world`-th (position, index) of the endless stream of permutations, from `rank` on."""
        n, position = len(self.wide), self.rank
        order, epoch = None, -1
        while True:
            if position // n != epoch:
                epoch = position // n
                generator = np.random.default_rng(np.random.SeedSequence((self.seed, epoch, self.purpose, 23)))
                order = generator.permutation(n)
            yield position, int(order[position % n])
            position += self.world


class MappedImages(Dataset[Any]):
    """Maps (position, index) to the model's input by Detectron2's mapper, augmented from (seed, position)."""

    def __init__(self, dicts: DatasetFromList, mapper: DatasetMapper, seed: int):
        self.dicts, self.mapper, self.seed = dicts, mapper, seed

    def __len__(self) -> int:
        return len(self.dicts)

    def __getitem__(self, key: tuple[int, int]) -> "dict[str, Any] | Unreadable":
        position, index = key
        # Detectron2's augmentations draw from numpy's global generator; nothing else here does.
        np.random.seed(np.random.SeedSequence((self.seed, position, 29)).generate_state(4))
        random.seed(position)
        record = self.dicts[index]
        try:
            return self.mapper(record)
        except (OSError, ValueError, SyntaxError) as error:  # damaged files, and a size other than the annotation's
            return Unreadable(record["file_name"], " ".join(str(error).split())[:200])


def training_dicts(cfg: CfgNode) -> list[dict[str, Any]]:
    """Return Detectron2's records of the training images that have objects."""
    return get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)


def training_loader(
    cfg: CfgNode,
    dicts: list[dict[str, Any]],
    *,
    seed: int,
    rank: int,
    world: int,
    start: int,
    stop: int,
    purpose: int = TRAINING,
) -> Iterator[list[dict[str, Any]]]:
    """Return an iterator over this process's batches of iterations `start` to `stop`.

    Raises (while iterating):
        RunFailed: an image that cannot be read, or whose size is not the annotation's.
    """
    wide = np.array([record["width"] > record["height"] for record in dicts])
    grouped = cfg.DATALOADER.ASPECT_RATIO_GROUPING
    batch = cfg.SOLVER.IMS_PER_BATCH // world
    sampler = TrainingBatches(
        wide, batch, grouped=grouped, seed=seed, rank=rank, world=world, start=start, stop=stop, purpose=purpose
    )
    images = MappedImages(DatasetFromList(dicts, copy=False), DatasetMapper(cfg, is_train=True), seed)
    workers = cfg.DATALOADER.NUM_WORKERS
    loader = DataLoader(
        images,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=_start_worker,
        # The loader draws a seed for its workers; from a generator of its own, it leaves the global one alone.
        generator=torch.Generator(),
        prefetch_factor=2 if workers else None,
    )
    return _checked(loader)


def _checked(loader: DataLoader) -> Iterator[list[dict[str, Any]]]:
    for batch in loader:
        for item in batch:
            if isinstance(item, Unreadable):
                raise RunFailed(f"{item.path} cannot be used for training ({item.reason}); mend or remove it")
        yield batch


def _start_worker(number: int) -> None:
    """One thread a worker: they share the machine's cores."""
    start_worker(number)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
