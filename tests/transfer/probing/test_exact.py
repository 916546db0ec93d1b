"""The exact probe against scipy's minimum of the same loss, its invariances, and how it chooses its penalty."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp

from tests.transfer.probing.test_probe import clusters
from transfer.probing.exact import STRENGTHS, exact_probe, fit, split
from transfer.probing.scores import ranks


def loss_of(weights, features, labels, classes, l2):
    """The penalised cross entropy in numpy, features standardised."""
    weight, bias = weights[:-classes].reshape(features.shape[1], classes), weights[-classes:]
    z = (features - features.mean(0)) / features.std(0)
    scores = z @ weight + bias
    chosen = scores[np.arange(len(labels)), labels]
    return (logsumexp(scores, axis=1) - chosen).mean() + l2 / 2 * (weight**2).sum()


@pytest.mark.parametrize("l2", [1.0, 1e-2])
def test_the_minimum_is_scipy_s(l2):
    features, labels = clusters(150, 3, 4, 2.0, 1)
    numbers, truth = features.double().numpy(), labels.numpy()
    theirs = minimize(loss_of, np.zeros(4 * 3 + 3), (numbers, truth, 3, l2), tol=1e-12)
    ours = fit(features, labels, 3, l2)
    found = np.concatenate([ours.weight.numpy().ravel(), ours.bias.numpy()])
    assert loss_of(found, numbers, truth, 3, l2) <= theirs.fun + 1e-9
    assert np.abs(ours.weight.numpy() - theirs.x[:-3].reshape(4, 3)).max() < 1e-3
    started = fit(features, labels, 3, l2, start=fit(features, labels, 3, 100.0))
    assert torch.allclose(started.weight, ours.weight, atol=1e-4)


def test_scale_and_shift_of_features_change_nothing():
    features, labels = clusters(300, 5, 8, 2.0, 1)
    moved = features * torch.logspace(-2, 2, 8) + torch.linspace(-5, 5, 8)
    one, other = exact_probe(features, labels, 5, 0), exact_probe(moved, labels, 5, 0)
    assert one.l2 == other.l2
    assert torch.allclose(one.scores(features), other.scores(moved), atol=1e-2)


def test_the_penalty_follows_the_noise():
    """Few rows and many dimensions without a signal need a strong one; the choice beats both ends of the grid."""
    generator = torch.Generator().manual_seed(0)
    train, test = clusters(120, 4, 6, 1.5, 1), clusters(2000, 4, 6, 1.5, 2)
    noise = [torch.randn(len(rows), 300, generator=generator) for rows, _ in (train, test)]
    wide, wide_test = (torch.cat([rows, n], 1) for (rows, _), n in zip((train, test), noise, strict=True))

    def accuracy(model):
        found, _ = ranks(model.scores, wide_test, test[1])
        return float((found == 0).double().mean())

    chosen = exact_probe(wide, train[1], 4, 0)
    assert STRENGTHS[-1] < chosen.l2
    assert accuracy(chosen) >= max(accuracy(fit(wide, train[1], 4, l2)) for l2 in (100.0, 1e-7)) - 0.01


def test_the_hold_out_is_of_every_class_and_never_all_of_one():
    labels = torch.tensor([0] * 10 + [1] * 3 + [2])
    kept, held_out = split(labels, 0.2, 0)
    assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(14))
    assert labels[held_out].tolist() == [0, 0, 1]
    assert split(labels, 0.2, 0)[1].tolist() == held_out.tolist()
    assert split(labels, 0.2, 1)[1].tolist() != held_out.tolist()
    alone = exact_probe(torch.eye(3), torch.arange(3), 3, 0)  # nothing can be held out: the strongest penalty
    assert alone.l2 == STRENGTHS[0]
    assert ranks(alone.scores, torch.eye(3), torch.arange(3))[0].tolist() == [0, 0, 0]
