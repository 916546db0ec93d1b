"""Ranks, accuracies with their intervals, and accuracy by class, against counting by hand and a real bootstrap."""

import numpy as np
import pytest
import torch

from transfer.probing.scores import accuracies, by_class, ranks


def test_ranks_and_accuracies_by_hand():
    scores = torch.tensor(
        [[9.0, 1, 0, 0, 0, 0, 0], [1, 9, 2, 3, 4, 5, 0], [0, 0, 0, 0, 0, 0, 9], [5, 5, 5, 5, 5, 5, 5]]
    )

    def found(labels, rows=scores):
        return ranks(lambda given: given, rows, torch.tensor(labels))

    # right; fifth best; a tie behind one: second; a tie of all: second
    assert found([0, 2, 0, 1])[0].tolist() == [0, 4, 1, 1]
    assert found([0, 0, 5, 6])[0].tolist() == [0, 5, 6, 6]
    first = accuracies(*found([0, 2, 0, 1]))
    assert (first["top1"], first["top5"]) == (25.0, 100.0)
    assert accuracies(*found([0, 0, 5, 6]))["top5"] == 25.0
    few = accuracies(*found([0, 2, 0, 2], scores[:, :5]))
    assert set(few) == {"top1", "top1_low", "top1_high"}


@pytest.mark.parametrize(("right", "images"), [(170, 341), (3, 12), (0, 5), (5, 5)])
def test_the_interval_is_the_bootstrap_s(right, images):
    found = torch.tensor([0] * right + [3] * (images - right))
    metrics = accuracies(found, 10)
    rng = np.random.default_rng(0)
    draws = 100 * (found.numpy()[rng.integers(images, size=(40_000, images))] == 0).mean(1)
    low, high = np.percentile(draws, [2.5, 97.5])
    assert metrics["top1"] == pytest.approx(100 * right / images)
    assert metrics["top1_low"] == pytest.approx(low, abs=100 / images)
    assert metrics["top1_high"] == pytest.approx(high, abs=100 / images)


def test_accuracy_by_class():
    found, labels = torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 2, 2])
    assert by_class(found, labels, ["a", "b", "c"]) == {"a": 50.0, "b": None, "c": 100.0}
