"""Kernels: the Gram path equals the plain path, and every kernel equals explicit features in the plain formulas."""

import pytest
import torch

from pretrain.losses import LossOptions, kernel_ssl_loss, kernel_ssl_terms
from pretrain.losses.kernel_ssl.kernels import doubly_centred, kernel_matrix, median_bandwidth
from pretrain.losses.kernel_ssl.pairs import kernel_pair, linear_pair
from tests.pretrain.losses.kernel_ssl.reference import features, gradients, median_distance, plain_loss

KERNELS = [
    {"kernel": "rbf"},
    {"kernel": "rbf", "bandwidth": 0.6},
    {"kernel": "laplace"},
    {"kernel": "laplace", "bandwidth": 2.0},
    {"kernel": "polynomial"},
    {"kernel": "polynomial", "degree": 3},
]
OBJECTIVES = [
    {},
    {"mu": 0.7, "lam": 0.5, "gamma": 0.3, "taylor_order": 5, "trace_term": True},
    {"logarithm": "exact", "mu": 0.8},
    {"alignment": "hsic", "hsic_weight": 0.2},
    {"alignment": "trace", "uniformity": "none"},
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_equals_the_covariance_formulas_on_explicit_features(kernel, objective):
    # Polynomial features of unit rows span (d + 1)(d + 2) / 2 dimensions or more: 12 points are independent there.
    matrices = features(6, 5)
    options = {**kernel, **objective}
    expected = plain_loss(*matrices, **options)
    terms = kernel_ssl_terms(*matrices, LossOptions(**options))
    for found, value in zip((terms.loss, terms.uniformity, terms.alignment), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-10, atol=1e-10)
    for found, value in zip(gradients(terms.loss, matrices), gradients(expected[0], matrices), strict=True):
        assert value.norm() > 1e-6
        torch.testing.assert_close(found, value, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("objective", [*OBJECTIVES, {"uniformity": "none"}, {"alignment": "none"}], ids=str)
@pytest.mark.parametrize("shape", [(10, 6), (6, 10)])
def test_the_kernel_path_with_linear_equals_the_plain_path(objective, shape):
    online, _, target, _ = (torch.nn.functional.normalize(x, dim=1) for x in features(*shape))
    options = LossOptions(**objective)
    plain = linear_pair(target, online, options)
    through_kernel = kernel_pair(target, online, options, None)
    for found, value in zip(through_kernel, plain, strict=True):
        torch.testing.assert_close(found, value, rtol=0, atol=1e-10)
    by_plain, by_kernel = (torch.autograd.grad(x[0], online, retain_graph=True)[0] for x in (plain, through_kernel))
    assert by_plain.norm() > 1e-3
    torch.testing.assert_close(by_kernel, by_plain, rtol=0, atol=1e-10)


def test_every_kernel_and_parameter_changes_loss_and_gradient():
    matrices = features(8, 6)
    found = []
    for kernel in [{}, *KERNELS]:
        loss = kernel_ssl_loss(*matrices, **kernel)
        found.append((loss.item(), gradients(loss, matrices)[0]))
    for i, (loss, gradient) in enumerate(found):
        for other_loss, other_gradient in found[:i]:
            assert abs(loss - other_loss) > 1e-3
            assert (gradient - other_gradient).norm() > 1e-3 * gradient.norm()


def test_the_median_rule_is_the_median_distance_of_all_targets():
    matrices = features(9, 4)
    targets = torch.cat([torch.nn.functional.normalize(x, dim=1) for x in matrices[2:]])
    bandwidth = median_distance(targets)
    assert median_bandwidth(targets).item() == pytest.approx(bandwidth, rel=1e-12)
    for kernel in ("rbf", "laplace"):
        by_rule = kernel_ssl_loss(*matrices, kernel=kernel)
        torch.testing.assert_close(by_rule, kernel_ssl_loss(*matrices, kernel=kernel, bandwidth=bandwidth))


def test_coinciding_rows_give_finite_values_and_gradients():
    row = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64).repeat(6, 1)
    assert median_bandwidth(row).item() == 1.0
    for kernel in ("rbf", "laplace", "polynomial"):
        onlines = [row.clone().requires_grad_() for _ in range(2)]
        loss = kernel_ssl_loss(*onlines, row, row, kernel=kernel)
        assert loss.item() == pytest.approx(0.0, abs=1e-12)
        assert all(torch.isfinite(g).all() for g in gradients(loss, onlines))


@pytest.mark.parametrize("kernel", ["linear", "rbf", "laplace", "polynomial"])
def test_gram_matrices_are_symmetric_positive_and_one_on_the_diagonal(kernel):
    rows = torch.nn.functional.normalize(features(10, 3)[2], dim=1)
    matrix = kernel_matrix(rows, rows, kernel, 0.9, 3)
    torch.testing.assert_close(matrix, matrix.T)
    torch.testing.assert_close(matrix.diagonal(), torch.ones(10, dtype=torch.float64))
    assert torch.linalg.eigvalsh(matrix).min() > -1e-12
    centred = doubly_centred(matrix)
    assert centred.sum(0).abs().max() < 1e-12
    assert centred.sum(1).abs().max() < 1e-12
