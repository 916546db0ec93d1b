"""The spectral radius of Q - I against eigenvalues, and the warning near 1."""

import pytest
import torch
import torch.nn.functional as F

from pretrain.losses import LossOptions, LossTerms, kernel_ssl_terms, radius_warning
from pretrain.losses.kernel_ssl.kernels import doubly_centred, kernel_matrix
from pretrain.losses.kernel_ssl.radius import spectral_radius
from tests.pretrain.losses.kernel_ssl.reference import features


def radius_of(matrix):
    return torch.linalg.eigvals(matrix).abs().max().item()


def expected_radii(matrices, mu):
    o1, o2, t1, t2 = (F.normalize(x.detach(), dim=1) - F.normalize(x.detach(), dim=1).mean(0) for x in matrices)
    m, d = o1.shape
    shift = (mu - 1) * torch.eye(d, dtype=o1.dtype)
    uniformity = max(radius_of(p.T @ z / m + shift) for p, z in ((t2, o1), (t1, o2)))
    return uniformity, max(radius_of(z.T @ z / m + shift) for z in (o1, o2))


@pytest.mark.parametrize("kind", ["spread", "agreeing", "narrow"])
@pytest.mark.parametrize("mu", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (60, 40), (2, 3)])
def test_equals_the_largest_eigenvalue(shape, mu, kind):
    matrices = features(*shape, kind)
    terms = kernel_ssl_terms(*matrices, LossOptions(mu=mu), with_radius=True)
    uniformity, alignment = expected_radii(matrices, mu)
    assert terms.radius_uniformity.item() == pytest.approx(uniformity, rel=1e-3)
    assert terms.radius_alignment.item() == pytest.approx(alignment, rel=1e-3)


def test_of_a_kernel():
    o1, o2, t1, t2 = features(20, 6)
    terms = kernel_ssl_terms(o1, o2, t1, t2, LossOptions(kernel="rbf", bandwidth=0.7, mu=0.9), with_radius=True)
    unit = [F.normalize(x.detach(), dim=1) for x in (o1, o2, t1, t2)]
    shift = -0.1 * torch.eye(20, dtype=torch.float64)

    def radius(a, b):
        return radius_of(doubly_centred(kernel_matrix(a, b, "rbf", 0.7, 2)) / 20 + shift)

    uniformity = max(radius(unit[0], unit[3]), radius(unit[1], unit[2]))
    assert terms.radius_uniformity.item() == pytest.approx(uniformity, rel=1e-6)
    assert terms.radius_alignment.item() == pytest.approx(max(radius(unit[0], unit[0]), radius(unit[1], unit[1])), 1e-6)


@pytest.mark.parametrize(
    ("matrix", "radius"),
    [
        ([[0.0, -2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]], 2.0),  # a complex pair
        ([[3.0, 0.0, 0.0], [0.0, -3.0, 0.0], [0.0, 0.0, 1.0]], 3.0),  # an opposite pair
        ([[0.0, 9.0, 9.0], [0.0, 0.0, 9.0], [0.0, 0.0, 0.0]], 0.0),  # nilpotent: large norm, no radius
        ([[0.0] * 3] * 3, 0.0),
        ([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]], 0.5),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hard_matrices(matrix, radius, dtype):
    matrix = torch.tensor(matrix, dtype=dtype)
    found = spectral_radius(lambda v: matrix @ v, matrix[0])
    assert found.dtype == dtype
    # Eigenvalues of a nilpotent matrix are known to the cube root of the rounding only.
    assert found.item() == pytest.approx(radius, abs=0.2 if radius == 0 and dtype == torch.float32 else 1e-3)


def test_the_global_random_numbers_are_left_alone_and_nan_is_told():
    state = torch.get_rng_state()
    matrix = torch.eye(4)
    spectral_radius(lambda v: matrix @ v, matrix[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert spectral_radius(lambda v: matrix @ v * torch.nan, matrix[0]).isnan()


def test_only_when_asked_for_and_only_for_terms_with_a_logarithm():
    matrices = features(10, 6)

    def which(with_radius=True, **options):
        terms = kernel_ssl_terms(*matrices, LossOptions(**options), with_radius=with_radius)
        return terms.radius_uniformity is not None, terms.radius_alignment is not None

    assert which(with_radius=False) == (False, False)
    assert which() == which(logarithm="exact") == (True, True)
    assert which(uniformity="none") == (False, True)
    assert which(alignment="hsic") == which(alignment="none") == (True, False)


def collapsed(m=20, d=6):
    """Rows at the two ends of one direction, nearly."""
    signs = torch.tensor([1.0, -1.0] * (m // 2), dtype=torch.float64)[:, None]
    return [signs * torch.ones(d, dtype=torch.float64) + 0.01 * x.detach() for x in features(m, d)]


def warning(matrices, **options):
    options = LossOptions(**options)
    return radius_warning(kernel_ssl_terms(*matrices, options, with_radius=True), options)


def test_a_collapse_is_warned_of_by_term_and_the_advice_is_about_features():
    text = warning(collapsed())
    assert text.startswith("the spectral radius of Q - I in the uniformity term is 1.00: the order-4 logarithm")
    assert "collapsed to few directions" in text
    assert "--gamma" in text
    assert "--logarithm exact" in text
    assert "in the alignment term" in warning(collapsed(), uniformity="none", taylor_order=3)
    assert "the order-3 logarithm" in warning(collapsed(), uniformity="none", taylor_order=3)


def test_mu_is_blamed_where_mu_is_the_cause():
    spread = features(40, 8)
    assert warning(spread) is None
    assert warning(spread, mu=0.5) is None
    for mu in (2.2, 0.05):
        text = warning(spread, mu=mu)
        assert f"because of mu {mu:g}; use --mu 1 or --logarithm exact" in text
        assert "collapsed" not in text
    assert "diverges" in warning(spread, mu=2.2)
    assert "is far from the exact one" in warning(spread, mu=0.05)
    online_1, online_2, *_ = features(40, 8)
    opposite = [online_1, online_2, -online_2.detach(), -online_1.detach()]  # moves the spectrum below mu - 1
    assert "because of mu 0.1;" in warning(opposite, mu=0.1)


def test_the_exact_logarithm_has_no_series_to_warn_of():
    assert warning(collapsed(), logarithm="exact") is None


def test_the_threshold_is_nine_tenths_and_nan_counts_as_beyond():
    def told(radius):
        values = [torch.tensor(x) for x in (0.0, 0.0, 0.0, radius, radius)]
        return radius_warning(LossTerms(*values), LossOptions()) is not None

    assert [told(x) for x in (0.0, 0.89, 0.91, 1.5, float("nan"))] == [False, False, True, True, True]
