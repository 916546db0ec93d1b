"""Both classifiers on frozen features: they learn what can be learnt, and only that."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from benchmark.core.errors import RunFailed
from transfer.probing.probe import linear_probe, nearest_neighbours
from transfer.probing.recipes import RECIPES, ProbeSettings

CPU = torch.device("cpu")


def clusters(n, classes, dimensions, spread, seed):
    """Gaussian clusters round fixed centres: (n, d) features and their labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dimensions, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(classes, (n,), generator=generator)
    return centres[labels] + spread * torch.randn(n, dimensions, generator=generator), labels


@pytest.mark.parametrize("optimizer", ["lars", "sgd"])
def test_the_probe_learns_separable_classes_and_nothing_from_random_labels(optimizer):
    train, test = clusters(2000, 10, 64, 0.8, 1), clusters(500, 10, 64, 0.8, 2)
    settings = ProbeSettings(epochs=60, batch=256, lr=3.0 if optimizer == "lars" else 0.03, optimizer=optimizer)
    _, found = linear_probe(train, test, 10, settings, 0, CPU)
    assert found["top1"] > 99
    assert found["top1"] <= found["top5"] <= 100
    shuffled = test[1][torch.randperm(500, generator=torch.Generator().manual_seed(3))]
    assert 4 < linear_probe(train, (test[0], shuffled), 10, settings, 0, CPU)[1]["top1"] < 17  # chance is 10


def test_the_norm_before_the_classifier_takes_scale_and_shift_out():
    train, test = clusters(600, 6, 32, 1.5, 1), clusters(300, 6, 32, 1.5, 2)
    scale, shift = torch.logspace(-2, 3, 32), torch.linspace(-50, 50, 32)
    settings = ProbeSettings(epochs=20, batch=128)
    _, plain = linear_probe(train, test, 6, settings, 0, CPU)
    _, moved = linear_probe(
        (train[0] * scale + shift, train[1]), (test[0] * scale + shift, test[1]), 6, settings, 0, CPU
    )
    assert moved["top1"] == pytest.approx(plain["top1"], abs=3)
    assert linear_probe(train, test, 6, settings, 0, CPU)[1] == plain


def test_the_settings_in_use():
    imagenet, small = ProbeSettings(), ProbeSettings()
    assert imagenet.batch_for(1_281_167) == 4096
    assert imagenet.lr_for(1_281_167) == pytest.approx(0.03 * 4096 / 256)
    assert imagenet.iterations_for(1_281_167) == 100 * 312
    assert imagenet.optimizer_for(1_281_167) == "lars"
    assert (small.batch_for(300), small.iterations_for(300), small.optimizer_for(300)) == (300, 100, "sgd")
    assert ProbeSettings(optimizer="lars").optimizer_for(300) == "lars"


def test_a_probe_that_diverges_says_so():
    features, labels = clusters(64, 3, 8, 1.0, 0)
    with pytest.raises(RunFailed, match="not finite in epoch"):
        linear_probe((features, labels), (features, labels), 3, ProbeSettings(lr=1e39, optimizer="sgd"), 0, CPU)


@pytest.mark.parametrize("neighbours", [1, 7, 1000])
def test_nearest_neighbours_equal_a_plain_loop(neighbours):
    train, test = clusters(200, 8, 5, 2.0, 1), clusters(60, 8, 5, 2.0, 2)
    right = 0
    for row, label in zip(test[0].double().numpy(), test[1].numpy(), strict=True):
        votes = np.zeros(8)
        bank = train[0].double().numpy()
        cosine = bank @ row / np.linalg.norm(bank, axis=1) / np.linalg.norm(row)
        for i in sorted(range(200), key=lambda i: -cosine[i])[:neighbours]:
            votes[train[1][i]] += math.exp(cosine[i] / 0.07)
        right += int(votes.argmax() == label)
    assert nearest_neighbours(train, test, 8, neighbours, 0.07, CPU)[1]["top1"] == pytest.approx(100 * right / 60)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_learns_separable_classes(name):
    train, test = clusters(3000, 6, 64, 1.0, 1), clusters(400, 6, 64, 1.0, 2)
    recipe = RECIPES[name]
    # LARC's steps are a thousandth of lr times the weights' length: 330 of them would end near the beginning.
    lr = recipe.lr * (100 if recipe.optimizer == "larc" else 1)
    falls = tuple(epoch * 30 // 100 for epoch in recipe.falls_at)
    settings = dataclasses.replace(recipe, batch=min(recipe.batch, 256), epochs=30, falls_at=falls, lr=lr)
    assert linear_probe(train, test, 6, settings, 0, CPU)[1]["top1"] > 95


def test_learning_rates_of_the_recipes():
    cosine, steps, by_epoch = RECIPES["swav"], RECIPES["moco"], RECIPES["simsiam"]
    assert [steps.lr_share(epoch, 0.5) for epoch in (0, 59, 60, 79, 80)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert cosine.lr_share(0, 0.0) == 1.0
    assert cosine.lr_share(49, 1.0) == pytest.approx(0.5)
    assert cosine.lr_share(50, 0.0) == pytest.approx(0.5)
    assert by_epoch.lr_share(45, 0.9) == pytest.approx(0.5)
    assert (steps.lr_for(10**6), by_epoch.lr_for(10**6), RECIPES["byol"].lr_for(10**6)) == pytest.approx((30, 1.6, 0.8))
    assert RECIPES["vicreg"].lr_for(10**6) == 0.02
