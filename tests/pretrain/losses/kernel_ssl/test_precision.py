"""Float32 or wider whatever the network runs in: autocast off, no TF32 or bfloat16 products, all input dtypes."""

import pytest
import torch

from pretrain.losses import kernel_ssl_loss
from pretrain.losses.kernel_ssl import pairs
from pretrain.losses.kernel_ssl.precision import full_precision
from tests.pretrain.losses.kernel_ssl.reference import features, gradients

OPTIONS = [{}, {"logarithm": "exact"}, {"kernel": "rbf"}, {"kernel": "polynomial"}, {"alignment": "hsic"}]


def cast(matrices, dtype):
    return [x.detach().to(dtype).requires_grad_(i < 2) for i, x in enumerate(matrices)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", [(40, 16), (16, 40)])
def test_bfloat16_autocast_changes_nothing_forward_or_backward(options, shape):
    matrices = cast(features(*shape), torch.float32)
    loss = kernel_ssl_loss(*matrices, **options)
    expected = gradients(loss, matrices)
    with torch.autocast("cpu", torch.bfloat16):
        assert (matrices[0] @ matrices[0].T).dtype == torch.bfloat16  # autocast is at work
        within = kernel_ssl_loss(*matrices, **options)
        found = gradients(within, matrices)
    assert within.dtype in (torch.float32, torch.float64)
    assert torch.equal(within, loss)
    for gradient, value in zip(found, expected, strict=True):
        assert gradient.dtype == torch.float32
        assert torch.equal(gradient, value)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_float32_is_close_to_float64(options):
    matrices = features(48, 24)
    exact = kernel_ssl_loss(*matrices, **options)
    single = cast(matrices, torch.float32)
    loss = kernel_ssl_loss(*single, **options)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5, abs=1e-5)
    for found, value in zip(gradients(loss, single), gradients(exact, matrices), strict=True):
        assert (found - value).norm() < 1e-4 * value.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features_are_widened_first(dtype):
    half = cast(features(20, 10), dtype)
    widened = cast(half, torch.float32)
    loss, expected = kernel_ssl_loss(*half), kernel_ssl_loss(*widened)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)
    for found, value in zip(gradients(loss, half), gradients(expected, widened), strict=True):
        assert torch.equal(found, value.to(dtype))


def test_matrix_products_are_in_full_precision_and_the_callers_setting_returns(monkeypatch):
    """pretrain/run.py allows TF32 products for the network ("high"); powers of matrices do not bear them."""
    seen = []
    compute = pairs._uniformity

    def watched(*arguments):
        seen.append((torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")))
        return compute(*arguments)

    monkeypatch.setattr(pairs, "_uniformity", watched)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            kernel_ssl_loss(*features(6, 4))
        assert torch.get_float32_matmul_precision() == "medium"
        with pytest.raises(KeyError), full_precision("cpu"):
            raise KeyError
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == [("highest", False)] * 2
