"""The loss against reference values, an independent restatement, numerical gradients, and its invariances."""

import pytest
import torch

from pretrain.losses import LossOptions, kernel_ssl_loss, kernel_ssl_terms
from tests.pretrain.losses.kernel_ssl.reference import features, gradients, plain_loss
from tests.pretrain.losses.vectors import read, tensor

SHAPES = [(12, 7), (7, 12), (9, 9), (2, 3), (30, 5)]
# mu stays where the integral of the reference converges and, for Taylor, also where the series would not.
OPTIONS = [
    {},
    {"mu": 0.5, "lam": 0.5},
    {"mu": 1.5, "taylor_order": 3},
    {"mu": 0.0},
    {"lam": 0.3},
    {"gamma": 0.0},
    {"gamma": 0.1},
    *[{"taylor_order": order, "mu": 0.8} for order in (1, 2, 3, 5, 6, 8)],
    {"taylor_order": 1},
    {"taylor_order": 9},
    {"logarithm": "exact"},
    {"logarithm": "exact", "mu": 0.6, "lam": 0.4, "gamma": 0.7},
    {"logarithm": "exact", "mu": 2.0, "trace_term": True},
    {"trace_term": True, "mu": 0.7, "gamma": 0.4},
    {"hsic_weight": 0.003},
    {"hsic_weight": 0.4, "gamma": 0.3},
    {"hsic_weight": 0.4, "logarithm": "exact"},
    {"hsic_weight": 0.4, "uniformity": "none"},
    {"hsic_weight": 0.4, "alignment": "none"},
    {"uniformity": "none"},
    {"uniformity": "none", "gamma": 0.25, "mu": 0.5},
    {"uniformity": "none", "logarithm": "exact", "trace_term": True},
    {"alignment": "none"},
    {"alignment": "none", "logarithm": "exact", "mu": 0.7},
    {"alignment": "hsic"},
    {"alignment": "hsic", "gamma": 2.0, "hsic_weight": 0.1},
    {"alignment": "hsic", "uniformity": "none"},
    {"alignment": "trace"},
    {"alignment": "trace", "gamma": 0.5, "trace_term": True, "mu": 0.9},
    {"alignment": "trace", "uniformity": "none"},
]


def vectors():
    cases = read("matrix_ssl_loss")["cases"]
    names = ["{kind}-{m}x{d}-K{order}-mu{mu}-gamma{gamma}".format(**case) for case in cases]
    return [pytest.param(case, id=name) for case, name in zip(cases, names, strict=True)]


@pytest.mark.parametrize("case", vectors())
def test_reference_values_of_the_released_code(case):
    names = ("online_1", "online_2", "target_1", "target_2")
    matrices = [tensor(case[name]) for name in names]
    for online in matrices[:2]:
        online.requires_grad_()
    options = LossOptions(mu=case["mu"], lam=case["lamda"], gamma=case["gamma"], taylor_order=case["order"])
    terms = kernel_ssl_terms(*matrices, options)
    assert terms.uniformity.item() == pytest.approx(case["uniformity"], rel=0, abs=1e-10)
    assert terms.alignment.item() == pytest.approx(case["alignment"], rel=0, abs=1e-10)
    loss = kernel_ssl_loss(*matrices, mu=case["mu"], lam=case["lamda"], gamma=case["gamma"], taylor_order=case["order"])
    assert loss.item() == pytest.approx(case["loss"], rel=0, abs=1e-10)
    for found, name in zip(gradients(loss, matrices), ("grad_online_1", "grad_online_2"), strict=True):
        torch.testing.assert_close(found, tensor(case[name]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["spread", "agreeing", "narrow"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_the_plain_restatement_on_both_sides(options, kind):
    for m, d in SHAPES:
        matrices = features(m, d, kind)
        expected = plain_loss(*matrices, **options)
        terms = kernel_ssl_terms(*matrices, LossOptions(**options))
        for found, value in zip((terms.loss, terms.uniformity, terms.alignment), expected, strict=True):
            torch.testing.assert_close(found, value, rtol=1e-10, atol=1e-10)
        pairs = zip(gradients(terms.loss, matrices), gradients(expected[0], matrices), strict=True)
        for found, value in pairs:
            assert value.norm() > 1e-9, "a gradient of zero would prove nothing"
            torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("shape", [(520, 530), (530, 520)])
@pytest.mark.parametrize("options", [{}, {"taylor_order": 6, "mu": 0.8}, {"hsic_weight": 0.1}], ids=str)
def test_equals_it_where_symmetric_products_are_computed_by_panels(options, shape):
    matrices = features(*shape)
    expected = plain_loss(*matrices, **options)[0]
    found = kernel_ssl_loss(*matrices, **options)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    for ours, value in zip(gradients(found, matrices), gradients(expected, matrices), strict=True):
        torch.testing.assert_close(ours, value, rtol=1e-9, atol=1e-9 * float(value.abs().max()))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mu": 0.5, "taylor_order": 6, "trace_term": True},
        {"taylor_order": 1},
        {"logarithm": "exact", "mu": 0.7},
        {"alignment": "hsic", "hsic_weight": 0.1},
        {"alignment": "trace"},
        {"kernel": "rbf", "bandwidth": 0.8},
        {"kernel": "laplace", "logarithm": "exact", "bandwidth": 1.1},
        {"kernel": "polynomial", "degree": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_gradcheck(options, shape):
    *onlines, target_1, target_2 = features(*shape)
    assert torch.autograd.gradcheck(lambda a, b: kernel_ssl_loss(a, b, target_1, target_2, **options), onlines)


def test_the_gradient_is_scaled_by_what_follows_and_stops_at_the_targets():
    matrices = features(8, 5)
    for target in matrices[2:]:
        target.requires_grad_()
    loss = kernel_ssl_loss(*matrices)
    once = gradients(loss, matrices)
    kernel_ssl_loss(*matrices).mul(-3.0).backward()
    for online, gradient in zip(matrices[:2], once, strict=True):
        torch.testing.assert_close(online.grad, -3.0 * gradient)
    assert all(target.grad is None for target in matrices[2:])


def test_only_one_online_view_may_want_a_gradient():
    matrices = features(8, 5)
    expected = gradients(kernel_ssl_loss(*matrices), matrices)[1]
    matrices[0] = matrices[0].detach()
    kernel_ssl_loss(*matrices).backward()
    torch.testing.assert_close(matrices[1].grad, expected)
    with torch.no_grad():
        assert not kernel_ssl_loss(*matrices).requires_grad


@pytest.mark.parametrize("options", [{}, {"logarithm": "exact"}, {"alignment": "hsic"}, {"kernel": "rbf"}], ids=str)
@pytest.mark.parametrize("shape", [(14, 6), (6, 14)])
def test_invariant_to_the_order_of_samples_and_to_a_joint_rotation(options, shape):
    m, d = shape
    matrices = features(m, d)
    loss = kernel_ssl_loss(*matrices, **options)
    by_rows = gradients(loss, matrices)
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(m, generator=generator)
    rotation = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    scale = torch.rand(m, 1, generator=generator, dtype=torch.float64) + 0.5
    shuffled = [x[order].detach().requires_grad_() for x in matrices]
    rotated = [(x @ rotation).detach().requires_grad_() for x in matrices]
    for changed, expected in ((shuffled, [g[order] for g in by_rows]), (rotated, [g @ rotation for g in by_rows])):
        again = kernel_ssl_loss(*changed, **options)
        torch.testing.assert_close(again, loss, rtol=1e-12, atol=1e-12)
        for found, value in zip(gradients(again, changed), expected, strict=True):
            torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(kernel_ssl_loss(*[x * scale for x in matrices], **options), loss)
    # The order must be the same in all four, and so must the rotation.
    assert abs(kernel_ssl_loss(shuffled[0], *matrices[1:], **options) - loss) > 1e-4
    assert abs(kernel_ssl_loss(rotated[0], *matrices[1:], **options) - loss) > 1e-6


def test_the_views_are_crossed():
    """Swapping the two views of every image changes nothing; swapping them in one branch alone does."""
    o1, o2, t1, t2 = features(10, 6)
    loss = kernel_ssl_loss(o1, o2, t1, t2)
    torch.testing.assert_close(kernel_ssl_loss(o2, o1, t2, t1), loss)
    assert abs(kernel_ssl_loss(o1, o2, t2, t1) - loss) > 1e-4


def test_features_that_do_not_belong_together_are_refused():
    a, b = torch.randn(4, 3), torch.randn(5, 3)
    with pytest.raises(ValueError, match=r"must share one shape \(m, d\), got \[\(4, 3\), \(5, 3\)\]"):
        kernel_ssl_loss(a, a, b, a)
    with pytest.raises(ValueError, match="must share one shape"):
        kernel_ssl_loss(*[torch.randn(4)] * 4)
    with pytest.raises(ValueError, match="at least 2 rows"):
        kernel_ssl_loss(*[torch.randn(1, 3)] * 4)
