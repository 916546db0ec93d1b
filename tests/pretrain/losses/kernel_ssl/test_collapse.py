"""Features with a known spectrum: collapsed to a point, to one direction, to k directions, isotropic."""

import math
from itertools import pairwise

import pytest
import torch

from pretrain.losses import LossOptions, kernel_ssl_loss, kernel_ssl_terms, radius_warning
from tests.pretrain.losses.kernel_ssl.reference import features, gradients

BOTH_SIDES = [4, 40]  # d below and above m


def flat(rank, d, copies=2):
    """Return rows +-e_1 ... +-e_rank: mean zero, covariance I / rank on `rank` dimensions; (2 rank copies, d)."""
    axes = torch.eye(d, dtype=torch.float64)[:rank]
    return torch.cat([axes, -axes] * copies)


def agreeing(rows):
    return [rows.clone().requires_grad_() for _ in range(2)] + [rows, rows]


def log_value(x, order):
    """log(1 + x), exact or to an order."""
    if order is None:
        return math.log1p(x)
    return sum((-1) ** (k + 1) * x**k / k for k in range(1, order + 1))


def kind(order):
    return {"logarithm": "exact"} if order is None else {"taylor_order": order}


@pytest.mark.parametrize("order", [1, 2, 4, 7, None])
@pytest.mark.parametrize("mu", [1.0, 0.6])
@pytest.mark.parametrize("rank", [1, 2, 3, 8])
def test_flat_spectra_give_the_closed_form(rank, mu, order):
    """U = -lam [r log(mu + 1/r) + (d - r) log mu]; A = -[r (mu + 1/r) log(mu + 1/r) + (d - r) mu log mu]."""
    for d in (8, 50):
        varying, still = log_value(mu + 1 / rank - 1, order), log_value(mu - 1, order)
        terms = kernel_ssl_terms(*agreeing(flat(rank, d)), LossOptions(mu=mu, lam=0.7, gamma=0.3, **kind(order)))
        uniformity = -0.7 * (rank * varying + (d - rank) * still)
        alignment = -(rank * (mu + 1 / rank) * varying + (d - rank) * mu * still)
        assert terms.uniformity.item() == pytest.approx(uniformity, abs=1e-11)
        assert terms.alignment.item() == pytest.approx(alignment, abs=1e-11)
        assert terms.loss.item() == pytest.approx(uniformity + 0.3 * alignment, abs=1e-11)


@pytest.mark.parametrize("d", BOTH_SIDES)
@pytest.mark.parametrize("options", [{}, {"logarithm": "exact"}, {"mu": 0.5}, {"alignment": "hsic"}], ids=str)
def test_collapse_to_a_point_is_finite_and_has_no_gradient_but_also_no_radius(options, d):
    rows = torch.linspace(1.0, 2.0, d, dtype=torch.float64).repeat(12, 1)
    matrices = agreeing(rows)
    terms = kernel_ssl_terms(*matrices, LossOptions(**options), with_radius=True)
    mu, order = options.get("mu", 1.0), None if options.get("logarithm") else 4
    by_alignment = 0.0 if options.get("alignment") else -d * mu * log_value(mu - 1, order)
    assert terms.loss.item() == pytest.approx(-d * log_value(mu - 1, order) + by_alignment, abs=1e-10)
    for gradient in gradients(terms.loss, matrices):
        assert gradient.abs().max() < 1e-12  # uniformity alone does not leave a perfect collapse
    assert terms.radius_uniformity.item() == pytest.approx(1 - mu, abs=1e-6)
    assert radius_warning(terms, LossOptions(**options)) is None


def test_alignment_alone_rewards_a_collapse_and_the_sum_does_not():
    """The auto-covariance term scores one direction below isotropic; with the cross term the order turns."""
    one, isotropic = agreeing(flat(1, 16, 16)), agreeing(flat(16, 16, 1))
    of_one, of_isotropic = (kernel_ssl_terms(*x, LossOptions()) for x in (one, isotropic))
    assert of_one.alignment.item() == pytest.approx(-2 * (1 - 1 / 2 + 1 / 3 - 1 / 4))
    assert of_one.alignment < of_isotropic.alignment - 0.1
    assert of_one.uniformity > of_isotropic.uniformity + 0.3
    assert of_one.loss > of_isotropic.loss + 0.2


def test_disagreeing_collapse_costs_more_than_agreeing_collapse():
    """With views that point to opposite ends C(target, online) has the eigenvalue -1, where log is -infinity."""
    rows = flat(1, 6, 6)
    opposite = [(-rows).requires_grad_() for _ in range(2)] + [rows, rows]
    assert kernel_ssl_loss(*opposite) > kernel_ssl_loss(*agreeing(rows)) + 2
    assert kernel_ssl_loss(*opposite, logarithm="exact").item() == math.inf
    exact = kernel_ssl_terms(*opposite, LossOptions(logarithm="exact", mu=0.5))  # eigenvalue -1/2: log of the modulus
    assert exact.uniformity.item() == pytest.approx(-6 * math.log(0.5))


@pytest.mark.parametrize("rank", [1, 2, 5])
@pytest.mark.parametrize("d", BOTH_SIDES)
def test_features_of_low_rank_have_gradients_that_descend(rank, d):
    """Repeated zero eigenvalues break eigh's own gradient; ours must predict the loss's change along it."""
    generator = torch.Generator().manual_seed(0)
    rank = min(rank, d - 1)
    base = torch.randn(12, rank, generator=generator, dtype=torch.float64)
    mix = torch.randn(rank, d, generator=generator, dtype=torch.float64)
    matrices = agreeing(base @ mix)
    target = base.flip(0) @ mix + 0.1
    for options in ({}, {"logarithm": "exact"}, {"logarithm": "exact", "mu": 0.05}):
        args = [*matrices[:2], target, target]
        by_1, by_2 = gradients(kernel_ssl_loss(*args, **options), args)
        size = (by_1.square().sum() + by_2.square().sum()).item()
        assert math.isfinite(size)
        assert size > 1e-6
        step = 1e-5 / math.sqrt(size)
        ends = [
            kernel_ssl_loss(args[0] + s * step * by_1, args[1] + s * step * by_2, target, target, **options).item()
            for s in (-1, 1)
        ]
        assert ends[1] - ends[0] == pytest.approx(2 * step * size, rel=1e-4)


def test_the_trace_term_makes_the_alignment_gradient_zero_where_the_branches_agree():
    """d tr(-P log Q + Q) = -P Q^-1 + I is zero at Q = P; the released code's -P Q^-1 is not."""
    for shape in ((20, 6), (6, 20)):
        rows = features(*shape)[2]
        alone = {"uniformity": "none", "logarithm": "exact"}
        matrices = agreeing(rows)
        released = gradients(kernel_ssl_loss(*matrices, **alone), matrices)
        full = gradients(kernel_ssl_loss(*matrices, **alone, trace_term=True), matrices)
        assert all(gradient.norm() > 1e-2 for gradient in released)
        assert all(gradient.abs().max() < 1e-13 for gradient in full)
        other = [matrices[0], matrices[1], features(*shape, seed=1)[2], rows]
        assert gradients(kernel_ssl_loss(*other, **alone, trace_term=True), other)[1].norm() > 1e-3


def test_with_the_taylor_logarithm_that_gradient_falls_with_the_order():
    """There it is (I - Q)^K, by the geometric series."""
    matrices = agreeing(features(30, 6)[2])
    sizes = [
        gradients(kernel_ssl_loss(*matrices, uniformity="none", trace_term=True, taylor_order=k), matrices)[0].norm()
        for k in (1, 2, 4, 8)
    ]
    assert all(later < 0.6 * earlier for earlier, later in pairwise(sizes))
