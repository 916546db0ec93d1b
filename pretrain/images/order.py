"""Which images are seen when: the order of an epoch, and each process's part of every global batch.

It depends on (seed, epoch, number of images) alone, so that neither workers nor processes nor resuming change it.
"""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


def epoch_length(images: int, global_batch: int) -> int:
    """Return the iterations of one epoch; the last incomplete batch is dropped (other images each epoch)."""
    return images // global_batch


def epoch_order(images: int, seed: int, epoch: int) -> np.ndarray:
    """Return the permutation of ``range(images)`` that epoch `epoch` (from 0) runs through."""
    dtype = np.int32 if images < 2**31 else np.int64
    order = np.arange(images, dtype=dtype)
    np.random.default_rng(np.random.SeedSequence((seed, epoch, 0, 7))).shuffle(order)
    return order


class GlobalBatches(Sampler[list[tuple[int, int]]]):
    """Yields this process's (epoch, index) pairs of each iteration from `start` to `stop`.

    Args:
        images: in the list.  batch: images of one process.  seed: of the order.
        rank, world: which process of how many.  start, stop: iterations, counted from 0 over all epochs.
    """

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
