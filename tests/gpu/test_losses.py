"""Every loss on the GPU: TF32 allowed by the program reaches neither its value nor its gradient."""

import pytest
import torch

import pretrain.losses
from tests.gpu.setting import DEVICE

ROWS, WIDTH = 512, 512


def set_newer(precision):
    """Set torch's newer settings: the general one, and cuBLAS's own, which torch 2.11 does not let follow it."""
    torch.backends.fp32_precision = precision
    torch.backends.cuda.matmul.fp32_precision = precision


ALLOW = {
    "older setting": lambda: torch.set_float32_matmul_precision("high"),
    "newer setting": lambda: set_newer("tf32"),
}


@pytest.fixture(params=ALLOW)
def tf32(request):
    """Allow TF32 in both ways that torch has, in a process that has done neither."""
    if request.param == "newer setting" and not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this torch has only the older setting")
    ALLOW[request.param]()
    yield
    if request.param == "newer setting":
        set_newer("none")
    else:
        torch.set_float32_matmul_precision("highest")


def inputs(method):
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(ROWS, WIDTH, generator=generator)
    four = [(common + torch.randn(ROWS, WIDTH, generator=generator)).to(DEVICE) for _ in range(4)]
    names = {
        "byol": ("prediction_1", "prediction_2", "target_projection_1", "target_projection_2"),
        "simsiam": ("p_1", "p_2", "z_1", "z_2"), "mec": ("online_1", "online_2", "target_1", "target_2"),
        "kernel_ssl": ("online_1", "online_2", "target_1", "target_2"),
    }.get(method, ("view_1", "view_2"))  # fmt: skip
    given = dict(zip(names, four, strict=False))
    if method == "swav":
        given["prototypes"] = four[2][:300]
    if method == "moco_v2":
        given = {"query": four[0], "key": four[1], "queue": torch.nn.functional.normalize(four[2], dim=1).T}
    return given


def value_and_gradient(method, given):
    online = [name for name in given if name in ("view_1", "view_2", "prediction_1", "p_1", "online_1", "query")]
    leaves = {name: x.detach().clone().requires_grad_(name in online) for name, x in given.items()}
    loss = getattr(pretrain.losses, f"{method}_loss")(**leaves)
    return loss, torch.autograd.grad(loss, [leaves[name] for name in online])


@pytest.mark.parametrize(
    "method", ["kernel_ssl", "simclr", "moco_v2", "byol", "swav", "simsiam", "barlow_twins", "vicreg", "mec"]
)
def test_float32_is_exact_while_the_program_allows_tf32(method, tf32, record_property):
    given = inputs(method)
    wide = {name: x.double() for name, x in given.items()}
    loss, gradients = value_and_gradient(method, given)
    exact, expected = value_and_gradient(method, wide)
    of_value = abs(loss.double() - exact).item() / abs(exact).item()
    of_gradient = max(((a - b).norm() / b.norm()).item() for a, b in zip(gradients, expected, strict=True))
    record_property("value, relative to float64", of_value)
    record_property("gradient, relative to float64", of_gradient)
    assert loss.dtype == torch.float32
    assert of_value < 2e-5
    assert of_gradient < 5e-5


@pytest.mark.cuda_only
def test_tf32_would_have_shown(tf32, record_property):
    """The same products outside a loss are coarser by two orders of magnitude, so the test above can fail."""
    a = torch.randn(1024, 1024, device=DEVICE)
    exact = a.double() @ a.double().T
    error = ((a @ a.T).double() - exact).norm() / exact.norm()
    record_property("product in TF32, relative to float64", error.item())
    assert error > 1e-4
