"""Diagnostics: closed forms, invariances, and independent formulas."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from pretrain.diagnostics.spectrum import (
    DEFINITIONS,
    alignment,
    effective_rank,
    entropy,
    intra_class_effective_rank,
    matrix_entropy,
    spectrum,
    uniformity,
)


def features(n=60, d=12, seed=0, dtype=torch.float64):
    """Correlated features with a mean far from zero, so that centring matters."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64)
    return (torch.randn(n, d, generator=generator, dtype=torch.float64) @ mix + 3).to(dtype)


def rotation(d, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]


def exp_entropy(values):
    """The definition in scipy's words; it normalises by itself."""
    return math.exp(scipy.stats.entropy(np.asarray(values)))


@pytest.mark.parametrize("d", [2, 5, 40])
def test_identity_has_full_rank_and_centring_takes_one(d):
    assert effective_rank(torch.eye(d), "singular_values") == pytest.approx(d)
    assert effective_rank(torch.eye(d), "covariance") == pytest.approx(d - 1)
    # Both signs of every axis: the mean is zero already, so nothing is lost.
    both = torch.cat([torch.eye(d), -torch.eye(d)])
    assert effective_rank(both, "covariance") == pytest.approx(d)
    assert matrix_entropy(both) == pytest.approx(math.log(d))


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_one_direction_has_rank_one(definition):
    direction, amounts = torch.randn(1, 9, dtype=torch.float64), torch.randn(50, 1, dtype=torch.float64)
    assert effective_rank(amounts @ direction, definition) == pytest.approx(1.0, abs=1e-9)


def test_no_variation_at_all_has_rank_one_and_entropy_zero():
    equal = torch.ones(10, 4) * torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert effective_rank(equal) == 1.0
    assert matrix_entropy(torch.zeros(10, 4)) == 0.0


@pytest.mark.parametrize("shape", [(60, 12), (8, 30), (15, 15)])
def test_equal_to_independent_formulas(shape):
    x = features(*shape)
    eigenvalues = np.clip(scipy.linalg.eigvalsh(np.cov(x.numpy(), rowvar=False, bias=True)), 0, None)
    assert effective_rank(x) == pytest.approx(exp_entropy(eigenvalues), rel=1e-8)
    np.testing.assert_allclose(spectrum(x).numpy(), np.sort(eigenvalues)[::-1][: min(shape)], atol=1e-9)
    singular = np.sqrt(np.clip(scipy.linalg.eigvalsh(x.numpy() @ x.numpy().T), 0, None))
    assert effective_rank(x, "singular_values") == pytest.approx(exp_entropy(singular), rel=1e-5)
    assert len(spectrum(x, "singular_values")) == min(shape)


def test_matrix_entropy_equals_the_matrix_logarithm():
    x = features(200, 6)
    covariance = np.cov(x.numpy(), rowvar=False, bias=True)
    unit = covariance / np.trace(covariance)
    assert matrix_entropy(x) == pytest.approx(-np.trace(unit @ scipy.linalg.logm(unit)).real, rel=1e-9)
    assert matrix_entropy(x) == pytest.approx(math.log(effective_rank(x, "covariance")))


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_invariances(definition):
    x = features()
    plain = effective_rank(x, definition)
    assert effective_rank(1e-6 * x, definition) == pytest.approx(plain, rel=1e-9)
    assert effective_rank(x @ rotation(12), definition) == pytest.approx(plain, rel=1e-9)
    assert effective_rank(x[torch.randperm(60)], definition) == pytest.approx(plain, rel=1e-9)
    assert effective_rank(torch.cat([x, x]), definition) == pytest.approx(plain, rel=1e-9)


def test_only_the_covariance_definition_ignores_the_mean():
    x = features()
    assert effective_rank(x + 100) == pytest.approx(effective_rank(x), rel=1e-9)
    assert effective_rank(x + 100, "singular_values") < 0.8 * effective_rank(x, "singular_values")
    assert effective_rank(x) != pytest.approx(effective_rank(x, "singular_values"), rel=0.05)


def test_narrow_types_are_computed_in_double_precision():
    x = features(300, 20, dtype=torch.float32) + 1000
    assert effective_rank(x) == pytest.approx(effective_rank(x.double()), rel=1e-12)
    assert spectrum(x.half().float()).dtype == spectrum(x.bfloat16()).dtype == torch.float64
    # Squares of these overflow float16.
    assert effective_rank(features(50, 5).mul(1000).half()) == pytest.approx(effective_rank(features(50, 5)), rel=0.01)


def test_more_samples_of_the_same_distribution_give_a_higher_rank():
    """Why the sample count belongs beside every figure (pitfall 29)."""
    x = torch.randn(2048, 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ranks = [effective_rank(x[:n]) for n in (32, 128, 512, 2048)]
    assert ranks == sorted(ranks)
    assert ranks[0] < 31
    assert ranks[-1] > 120


def test_a_spectrum_with_known_entropy():
    assert entropy(torch.tensor([2.0, 2.0, 0.0], dtype=torch.float64)) == pytest.approx(math.log(2))
    shares = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    assert entropy(5 * shares) == pytest.approx(-(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)))


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: effective_rank(torch.eye(3), "rank"), "none of covariance, singular_values"),
        (lambda: effective_rank(torch.ones(1, 3)), "n >= 2"),
        (lambda: effective_rank(torch.ones(4)), "n >= 2"),
        (lambda: effective_rank(torch.tensor([[1.0, float("nan")], [0, 1]])), "NaN or infinity"),
        (lambda: intra_class_effective_rank(torch.eye(3), torch.arange(3)), "no class has two samples"),
    ],
)
def test_what_cannot_be_computed_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
