"""Diagnostics: closed forms, invariances, and independent formulas."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from pretrain.diagnostics.spectrum import (
    DEFINITIONS,
    decay_exponent,
    effective_rank,
    entropy,
    spectrum,
)
from tests.pretrain.diagnostics.examples import features, rotation


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
    assert entropy(spectrum(both)) == pytest.approx(math.log(d))


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_one_direction_has_rank_one(definition):
    direction, amounts = torch.randn(1, 9, dtype=torch.float64), torch.randn(50, 1, dtype=torch.float64)
    assert effective_rank(amounts @ direction, definition) == pytest.approx(1.0, abs=1e-9)


def test_no_variation_at_all_has_rank_one_and_entropy_zero():
    equal = torch.ones(10, 4) * torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert effective_rank(equal) == 1.0
    assert entropy(spectrum(torch.zeros(10, 4))) == 0.0


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
    assert entropy(spectrum(x)) == pytest.approx(-np.trace(unit @ scipy.linalg.logm(unit)).real, rel=1e-9)
    assert entropy(spectrum(x)) == pytest.approx(math.log(effective_rank(x, "covariance")))


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
    """Why the sample count belongs beside every figure."""
    x = torch.randn(2048, 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ranks = [effective_rank(x[:n]) for n in (32, 128, 512, 2048)]
    assert ranks == sorted(ranks)
    assert ranks[0] < 31
    assert ranks[-1] > 120


def test_a_spectrum_with_known_entropy():
    assert entropy(torch.tensor([2.0, 2.0, 0.0], dtype=torch.float64)) == pytest.approx(math.log(2))
    shares = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    assert entropy(5 * shares) == pytest.approx(-(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)))


def power_law(exponent, d=200):
    return torch.arange(1, d + 1, dtype=torch.float64) ** -exponent


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 3.0])
def test_the_decay_exponent_of_a_power_law_is_its_exponent(exponent):
    assert decay_exponent(7 * power_law(exponent)) == pytest.approx(exponent, abs=1e-9)


def test_the_decay_exponent_is_the_authors_weighted_fit_over_ranks_4_to_100():
    values = power_law(1.2, 300) * torch.linspace(1, 2, 300, dtype=torch.float64).square()
    ranks = np.arange(4, 101)
    design = np.stack([-np.log(ranks), np.ones(len(ranks))], 1)
    root = np.sqrt(1 / ranks)[:, None]
    expected = np.linalg.lstsq(root * design, root[:, 0] * np.log(values.numpy()[3:100]), rcond=None)[0][0]
    assert decay_exponent(values) == pytest.approx(expected, rel=1e-9)
    outside = values.clone()
    outside[:3] *= 5
    outside[100:] /= 5
    assert decay_exponent(outside) == pytest.approx(expected, rel=1e-9)


def test_the_decay_exponent_of_a_short_spectrum():
    assert decay_exponent(power_law(2.0, 6)) == pytest.approx(2.0)
    assert math.isnan(decay_exponent(power_law(2.0, 5)))
    rounding = torch.cat([power_law(2.0, 20), torch.full((80,), 1e-18, dtype=torch.float64)])
    assert decay_exponent(rounding) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: effective_rank(torch.eye(3), "rank"), "none of covariance, singular_values"),
        (lambda: effective_rank(torch.ones(1, 3)), "n >= 2"),
        (lambda: effective_rank(torch.ones(4)), "n >= 2"),
        (lambda: effective_rank(torch.tensor([[1.0, float("nan")], [0, 1]])), "NaN or infinity"),
    ],
)
def test_what_cannot_be_computed_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
