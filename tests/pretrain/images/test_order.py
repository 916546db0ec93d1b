"""The order of an epoch: a permutation of seed and epoch, shared out to the processes."""

import numpy as np
import pytest

from pretrain.images.order import GlobalBatches, epoch_length, epoch_order


def test_an_epochs_order_is_a_permutation_that_depends_on_seed_and_epoch():
    first = epoch_order(1000, seed=3, epoch=7)
    assert sorted(first) == list(range(1000))
    assert np.array_equal(first, epoch_order(1000, seed=3, epoch=7))
    for other in (epoch_order(1000, 4, 7), epoch_order(1000, 3, 8), epoch_order(1000, 7, 3), np.arange(1000)):
        assert (first == other).mean() < 0.02
    assert epoch_order(1000, 0, 0).itemsize == 4  # 56 MB for 14 million images


def test_the_order_is_that_of_earlier_versions():
    """A run that was begun with another version of this code goes on with the images that it has not seen."""
    assert epoch_order(10, seed=3, epoch=7).tolist() == [2, 0, 3, 5, 8, 4, 1, 6, 9, 7]
    assert epoch_order(10, seed=0, epoch=0).tolist() == [9, 2, 5, 1, 8, 3, 4, 7, 0, 6]


def test_every_place_in_the_order_is_equally_likely():
    places = np.array([np.flatnonzero(epoch_order(8, 0, epoch) == 0)[0] for epoch in range(1600)])
    assert np.bincount(places, minlength=8).min() > 140  # 200 expected, sd 13


def test_the_last_images_that_fill_no_batch_are_left_out_of_the_epoch():
    assert epoch_length(22, 4) == 5
    assert epoch_length(24, 4) == 6
    found = list(GlobalBatches(22, 4, seed=5, rank=0, world=1, start=0, stop=10))
    epochs = []
    for epoch, part in enumerate((found[:5], found[5:])):
        assert {key[0] for batch in part for key in batch} == {epoch}
        seen = [index for batch in part for _, index in batch]
        assert len(seen) == len(set(seen)) == 20
        epochs.append(seen)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("start", [0, 1, 4, 5, 9, 10])
def test_processes_share_out_the_batches_of_one_process_from_any_iteration(start):
    whole = list(GlobalBatches(33, 6, seed=5, rank=0, world=1, start=0, stop=10))
    parts = [GlobalBatches(33, 2, seed=5, rank=rank, world=3, start=start, stop=10) for rank in range(3)]
    assert [len(part) for part in parts] == [10 - start] * 3
    assert [[key for share in shares for key in share] for shares in zip(*parts, strict=True)] == whole[start:]
