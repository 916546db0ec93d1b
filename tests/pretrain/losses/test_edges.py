"""Where rows have next to no length or variance, and the first and last value that each argument may have."""

import pytest
import torch
import torch.nn.functional as F

from benchmark.core.errors import UserError
from pretrain.losses import (
    LossOptions,
    LossTerms,
    barlow_twins_loss,
    byol_loss,
    kernel_ssl_loss,
    moco_enqueue,
    radius_warning,
    simsiam_loss,
    supervised_loss,
    swav_codes,
    swav_enqueue,
    vicreg_loss,
)
from pretrain.losses.kernel_ssl.rows import centred_unit_rows
from tests.pretrain.losses.kernel_ssl.reference import features, gradients


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_barlow_twins_adds_1e_5_to_the_variance_as_batch_norm_does():
    """Two rows of variance 1e-5 become +-1/sqrt(2): a correlation of 1/2, and (1/2 - 1)^2."""
    view = rows([1e-5**0.5], [-(1e-5**0.5)])
    assert barlow_twins_loss(view, view).item() == pytest.approx(0.25, rel=1e-6)


def test_vicreg_adds_1e_4_to_the_variance_before_the_root():
    """All rows alike: no invariance, no covariance, and 25 (1 - sqrt(1e-4))."""
    view = torch.ones(4, 3, dtype=torch.float64)
    assert vicreg_loss(view, view).item() == pytest.approx(25 * 0.99)


@pytest.mark.parametrize(("length", "becomes"), [(1.1e-6, 1.0), (1e-6, 1.0), (5e-7, 0.5), (0.0, 0.0)])
def test_byol_holds_the_square_of_a_length_at_1e_12(length, becomes):
    """As ``l2_normalize`` of TensorFlow and JAX: against a unit target, (1 - becomes)^2 for each of two directions."""
    short, target = rows([length, 0.0]), rows([1.0, 0.0])
    assert byol_loss(short, short, target, target).item() == pytest.approx(2 * (1 - becomes) ** 2, abs=1e-9)


@pytest.mark.parametrize("length", [1.2e-8, 1e-8, 5e-9])
def test_simsiam_holds_a_length_at_1e_8(length):
    short, target = rows([length, 0.0]), rows([1.0, 0.0])
    found = simsiam_loss(short, short, target, target).item()
    assert found == pytest.approx(-min(1.0, length / 1e-8), rel=1e-6)


@pytest.mark.parametrize("length", [1.2e-12, 1e-12, 5e-13, 0.0])
def test_kernel_ssl_divides_short_rows_as_torch_does(length):
    short = rows([length, 0.0], [0.0, 1.0])
    unit = F.normalize(short, dim=1)
    torch.testing.assert_close(centred_unit_rows(short).rows, unit - unit.mean(0))


@pytest.mark.parametrize(
    "options",
    [{}, {"logarithm": "exact"}, {"taylor_order": 1}, {"taylor_order": 5}, {"uniformity": "none"}, {"mu": 0.7}],
    ids=str,
)
@pytest.mark.parametrize("more", [{}, {"alignment": "hsic"}, {"alignment": "trace"}, {"hsic_weight": 0.1}], ids=str)
def test_as_many_rows_as_columns_are_no_special_case(options, more):
    """Gram and covariance matrices have one size there; appending a column of zeros changes which of them is used."""
    if options.get("uniformity") == "none" and more.get("alignment") in ("hsic", "trace"):
        more = {}
    square = features(6, 6)
    wider = [torch.cat([x.detach(), x.new_zeros(6, 1)], 1).requires_grad_(x.requires_grad) for x in square]
    trace = options.get("mu", 1.0) != 1 or more  # what the absent dimension adds does not depend on the features
    losses = [kernel_ssl_loss(*matrices, **options, **more) for matrices in (square, wider)]
    if not trace:
        assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-9)
    for ours, theirs in zip(gradients(losses[0], square), gradients(losses[1], wider), strict=True):
        torch.testing.assert_close(ours, theirs[:, :6], rtol=1e-9, atol=1e-10)


def _told(radius, options):
    values = [torch.tensor(x, dtype=torch.float64) for x in (0.0, 0.0, 0.0, radius, radius)]
    return radius_warning(LossTerms(*values), options)


def test_the_series_diverges_beyond_a_radius_of_one():
    assert _told(0.9, LossOptions()) is not None
    assert _told(0.8999, LossOptions()) is None
    assert "is far from the exact one" in _told(1.0, LossOptions())
    assert "diverges" in _told(1.0001, LossOptions())


@pytest.mark.parametrize(("mu", "blamed"), [(1.0, False), (1.001, True), (0.1, True), (0.2, False)])
def test_mu_is_blamed_above_one_and_where_it_alone_leads_to_the_threshold(mu, blamed):
    assert ("because of mu" in _told(0.95, LossOptions(mu=mu))) == blamed


def test_the_first_and_last_values_of_options_are_taken():
    assert (LossOptions(taylor_order=1).taylor_order, LossOptions(taylor_order=100).taylor_order) == (1, 100)
    with pytest.raises(UserError, match="between 1 and 100"):
        LossOptions(taylor_order=101)
    plain = LossOptions()
    assert (plain.mu, plain.lam, plain.gamma, plain.taylor_order) == (1.0, 1.0, 1.0, 4)
    assert (plain.hsic_weight, plain.degree, plain.bandwidth, plain.trace_term) == (0.0, 2, None, False)


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_all_or_no_smoothing_of_labels_is_allowed(smoothing):
    logits, labels = rows([2.0, 0.0], [0.0, 1.0]), torch.tensor([0, 0])
    chances = logits.log_softmax(1)
    expected = -chances[:, 0].mean() if smoothing == 0 else -chances.mean()
    assert supervised_loss(logits, labels, label_smoothing=smoothing).item() == pytest.approx(expected.item())
    for wrong in (-0.01, 1.01):
        with pytest.raises(ValueError, match="between 0 and 1"):
            supervised_loss(logits, labels, label_smoothing=wrong)


def test_a_queue_takes_a_batch_of_its_own_size_and_every_pointer_inside():
    queue, keys = torch.zeros(2, 3, dtype=torch.float64), rows([2.0, 0.0], [0.0, 3.0], [4.0, 0.0])
    found, place = moco_enqueue(queue, keys, 2)
    assert place == 2
    assert torch.equal(found, rows([0.0, 1.0, 1.0], [1.0, 0.0, 0.0]))
    for pointer in (-1, 3):
        with pytest.raises(ValueError, match="between 0 and 2"):
            moco_enqueue(queue, keys, pointer)
    with pytest.raises(ValueError, match="more than the 3 columns"):
        moco_enqueue(queue, torch.cat([keys, keys[:1]]), 0)
    assert torch.equal(swav_enqueue(torch.zeros(3, 2, dtype=torch.float64), keys), F.normalize(keys, dim=1))
    with pytest.raises(ValueError, match="m <= L"):
        swav_enqueue(torch.zeros(2, 2), keys)


def test_codes_without_balancing_are_a_softmax_over_everything():
    view, prototypes = rows([1.0, 0.0], [0.6, 0.8]), rows([1.0, 0.0], [0.0, 1.0])
    codes = swav_codes(view, prototypes, epsilon=0.5, sinkhorn_iterations=0)
    expected = 2 * (view @ prototypes.T / 0.5).flatten().softmax(0).view(2, 2)
    torch.testing.assert_close(codes, expected)
    with pytest.raises(ValueError, match="0 or more"):
        swav_codes(view, prototypes, sinkhorn_iterations=-1)
