"""Alignment, uniformity, LiDAR and ranks inside classes: closed forms, invariances, independent formulas."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from pretrain.diagnostics.geometry import alignment, intra_class_effective_rank, lidar, uniformity
from pretrain.diagnostics.spectrum import effective_rank
from tests.pretrain.diagnostics.examples import features, rotation


def exp_entropy(values):
    """The definition in scipy's words; it normalises by itself."""
    return math.exp(scipy.stats.entropy(np.asarray(values)))


def test_intra_class_rank_is_the_mean_over_classes_with_two_or_more():
    x, labels = features(40, 6), torch.tensor([0] * 15 + [3] * 20 + [7] * 4 + [9])
    by_hand = [
        exp_entropy(np.clip(np.linalg.eigvalsh(np.cov(x[labels == c].numpy(), rowvar=False)), 0, None))
        for c in (0, 3, 7)
    ]
    assert intra_class_effective_rank(x, labels) == pytest.approx(np.mean(by_hand), rel=1e-8)
    collapsed = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))[torch.arange(10).repeat(4)]
    assert intra_class_effective_rank(collapsed, torch.arange(10).repeat(4)) == 1.0
    assert effective_rank(collapsed) > 3


def test_alignment_on_the_sphere():
    x = torch.eye(4)
    assert alignment(x, 5 * x) == pytest.approx(0)
    assert alignment(x, -x) == pytest.approx(4)
    assert alignment(x, x.roll(1, 0)) == pytest.approx(2)
    assert alignment(x, torch.cat([x[:2], -x[2:]])) == pytest.approx(2)


def test_uniformity_on_the_sphere():
    assert uniformity(torch.tensor([[1.0, 0], [-3.0, 0]])) == pytest.approx(-8)
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0)
    x = features(20, 4)
    rows = (x / x.norm(dim=1, keepdim=True)).numpy()
    pairs = [np.exp(-2 * np.sum((rows[i] - rows[j]) ** 2)) for i in range(20) for j in range(i)]
    assert uniformity(x) == pytest.approx(math.log(np.mean(pairs)), rel=1e-9)
    assert uniformity(x @ rotation(4)) == pytest.approx(uniformity(x), rel=1e-9)
    assert uniformity(torch.randn(400, 64)) < uniformity(torch.randn(400, 64) + 1)
    counts = torch.tensor([3, 0, 1] + [0] * 17)
    by_hand = math.log(np.exp(-2 * np.sum((rows[0] - rows[2]) ** 2)))
    assert uniformity(x, counts) == pytest.approx(by_hand, rel=1e-9)  # copies of a row are no pair


def views(n=40, q=5, d=12, spread=0.3, seed=0):
    """Features whose images lie apart by 1 and whose views lie apart by `spread`."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 1, d, generator=generator, dtype=torch.float64)
    return images + spread * torch.randn(n, q, d, generator=generator, dtype=torch.float64)


def lidar_by_scipy(x, ridge):
    n, q, d = x.shape
    means = x.mean(1)
    within = sum(np.outer(row, row) for image, m in zip(x, means, strict=True) for row in image - m) / (n * q)
    between = sum(np.outer(m, m) for m in means - means.mean(0)) / n
    inverse = scipy.linalg.inv(scipy.linalg.sqrtm(within + ridge * np.eye(d)))
    return exp_entropy(np.clip(scipy.linalg.eigvalsh(inverse @ between @ inverse), 0, None))


@pytest.mark.parametrize("shape", [(40, 5, 12), (6, 3, 20), (2, 2, 4)])
@pytest.mark.parametrize("ridge", [1e-4, 0.1])
def test_lidar_equals_the_formula_of_the_paper(shape, ridge):
    x = views(*shape)
    assert lidar(x, ridge) == pytest.approx(lidar_by_scipy(x.numpy(), ridge), rel=1e-6)


def test_lidar_of_images_on_the_axes_counts_them():
    """Means at both signs of k axes and equal spread: k equal eigenvalues, whatever the views' scale."""
    d, k = 8, 5
    means = torch.cat([torch.eye(d)[:k], -torch.eye(d)[:k]]).double()
    offsets = torch.cat([torch.eye(d), -torch.eye(d)]).double()
    for scale in (0.01, 1.0, 10.0):
        assert lidar(means[:, None] + scale * offsets[None]) == pytest.approx(k)
    assert lidar(means[:2, None] * 0 + offsets[None, :2]) == pytest.approx(1.0)  # all images alike: one direction


def test_lidar_weighs_directions_by_what_sets_images_apart():
    """A direction in which views differ as much as images counts little; the covariance rank cannot see it."""
    x = views(200, 8, 6, spread=0.05)
    noisy = x.clone()
    noisy[:, :, 3:] += 20 * torch.randn(200, 8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert lidar(x) > 5.5
    assert lidar(noisy) < 3.3
    assert lidar(x @ rotation(6)) == pytest.approx(lidar(x), rel=1e-9)
    assert lidar(x + 100) == pytest.approx(lidar(x), rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lidar(torch.zeros(4, 3)), "n and q of 2 or more"),
        (lambda: lidar(torch.zeros(1, 3, 2)), "n and q of 2 or more"),
        (lambda: lidar(torch.zeros(3, 1, 2)), "n and q of 2 or more"),
        (lambda: intra_class_effective_rank(torch.eye(3), torch.arange(3)), "no class has two samples"),
    ],
)
def test_what_cannot_be_computed_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
