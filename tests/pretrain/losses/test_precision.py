"""Float32 or wider whatever the network runs in: autocast off, no TF32 or bfloat16 products, all input dtypes."""

import contextlib

import pytest
import torch

import pretrain.losses
from pretrain.losses import kernel_ssl_loss
from pretrain.losses.kernel_ssl import gram
from pretrain.losses.precision import full_precision, in_full_precision
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


PER_LIBRARY = hasattr(torch.backends, "fp32_precision")
WAYS = {
    "nothing": lambda: None,
    "older, high": lambda: torch.set_float32_matmul_precision("high"),
    "older, medium": lambda: torch.set_float32_matmul_precision("medium"),
}
if PER_LIBRARY:
    WAYS |= {
        "all, tf32": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
        "all, bf16": lambda: setattr(torch.backends, "fp32_precision", "bf16"),
        "cuBLAS": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
        "oneDNN": lambda: setattr(torch.backends.mkldnn, "fp32_precision", "bf16"),
        "oneDNN's products": lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
    }


def libraries():
    """Return every setting of torch 2.9 and newer, outermost first."""
    backends = torch.backends
    return [backends, backends.cuda.matmul, backends.mkldnn, backends.mkldnn.matmul] if PER_LIBRARY else []


def precisions():
    """Return what all settings say; the older one refuses to be read beside the newer ones."""
    try:
        older = torch.get_float32_matmul_precision()
    except RuntimeError:
        older = "refused"
    return [older, *(library.fp32_precision for library in libraries())]


@pytest.fixture(params=WAYS)
def allowed(request):
    """Allow coarse products in one of the ways that torch has, as a caller may; put all back afterwards."""
    before = [library.fp32_precision for library in libraries()]
    older = torch.get_float32_matmul_precision()
    WAYS[request.param]()
    yield request.param
    with contextlib.suppress(RuntimeError):
        torch.set_float32_matmul_precision(older)
    for library, value in zip(libraries(), before, strict=True):
        library.fp32_precision = value


@pytest.mark.skipif(not PER_LIBRARY, reason="torch before 2.9 has one setting for all")
@pytest.mark.parametrize("own", ["tf32", "ieee", "none"])
@pytest.mark.parametrize("inner", [1, 3], ids=["cuBLAS", "oneDNN"])
def test_what_a_caller_set_for_one_library_stays_set_where_all_had_the_same_value(inner, own):
    """Whether a setting is its own shows when the general one changes afterwards."""
    general, library = libraries()[0], libraries()[inner]
    before = [setting.fp32_precision for setting in (general, library)]
    try:
        general.fp32_precision = "tf32"
        library.fp32_precision = own
        kernel_ssl_loss(*features(6, 4))
        general.fp32_precision = "ieee" if own == "tf32" else "bf16" if inner == 3 else "ieee"
        assert library.fp32_precision == (general.fp32_precision if own == "none" else own)
    finally:
        for setting, value in zip((general, library), before, strict=True):
            setting.fp32_precision = value


def test_matrix_products_are_in_full_precision_and_the_callers_settings_return(allowed, monkeypatch):
    """pretrain/run.py allows TF32 products for the network ("high"); powers of matrices do not bear them."""
    seen = []
    compute = gram.uniformity_taylor

    def watched(*arguments):
        seen.append((precisions(), torch.is_autocast_enabled("cpu")))
        return compute(*arguments)

    monkeypatch.setattr(gram, "uniformity_taylor", watched)
    before = precisions()
    with torch.autocast("cpu", torch.bfloat16):
        kernel_ssl_loss(*features(6, 4))
    assert precisions() == before
    with pytest.raises(KeyError), full_precision("cpu"):
        raise KeyError
    assert precisions() == before
    assert len(seen) == 2
    for (older, *newer), autocast in seen:
        assert not autocast
        if PER_LIBRARY:
            _, cublas, _, onednn = newer
            assert (cublas, onednn) == ("ieee", "ieee")
        else:
            assert older == "highest"


@pytest.mark.skipif(not PER_LIBRARY, reason="this torch has no setting per library")
def test_a_setting_that_follows_the_general_one_goes_on_following_it(allowed):
    kernel_ssl_loss(*features(6, 4))
    if allowed.startswith("all"):
        torch.backends.fp32_precision = "ieee"
        assert torch.backends.cuda.matmul.fp32_precision in ("ieee", "none")
        assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"


BASELINES = {
    "simclr": (2, {}), "byol": (4, {}), "simsiam": (4, {}), "barlow_twins": (2, {}), "vicreg": (2, {}),
    "mec": (4, {}), "swav": (3, {}), "moco_v2": (3, {}), "supervised": (1, {"labels": torch.arange(6)}),
}  # fmt: skip


def of_baseline(method, dtype):
    count, extra = BASELINES[method]
    matrices = [x.detach() for x in features(6, 6)[:count]]
    if method == "moco_v2":
        matrices[2] = torch.nn.functional.normalize(matrices[2], dim=0)
    online = 3 if method == "swav" else 1 if method == "moco_v2" else min(count, 2)
    matrices = [x.to(dtype).requires_grad_(i < online) for i, x in enumerate(matrices)]
    return getattr(pretrain.losses, f"{method}_loss"), matrices, extra


@pytest.mark.parametrize("method", BASELINES)
def test_autocast_changes_nothing_of_a_baseline_forward_or_backward(method):
    loss, matrices, extra = of_baseline(method, torch.float32)
    online = [x for x in matrices if x.requires_grad]
    expected = loss(*matrices, **extra)
    gradients = torch.autograd.grad(expected, online)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(*matrices, **extra)
        assert torch.equal(found, expected)
        for a, b in zip(torch.autograd.grad(found, online), gradients, strict=True):
            assert torch.equal(a, b)
    exact, wide, extra = of_baseline(method, torch.float64)
    value = exact(*wide, **extra)
    assert expected.item() == pytest.approx(value.item(), rel=1e-5)
    for a, b in zip(gradients, torch.autograd.grad(value, [x for x in wide if x.requires_grad]), strict=True):
        assert (a - b).norm() < 1e-4 * b.norm() + 1e-6


@pytest.mark.parametrize("method", BASELINES)
def test_a_baselines_half_precision_features_are_widened_first(method):
    """A small gradient is scaled before it is rounded: fp16's scaler would come too late otherwise."""
    loss, half, extra = of_baseline(method, torch.float16)
    wide = [x.detach().float().requires_grad_(x.requires_grad) for x in half]
    found, expected = loss(*half, **extra), loss(*wide, **extra)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    scale = 2.0**12
    (found * scale).backward()
    (expected * scale).backward()
    for a, b in zip(half, wide, strict=True):
        if a.requires_grad:
            assert a.grad.dtype == torch.float16
            assert torch.equal(a.grad, b.grad.half())


def test_the_gradient_too_is_computed_in_full_precision():
    """Autograd would run it after the loss has returned, in whatever precision the program then has."""
    seen = []

    class Watch(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            seen.append(("forward", precisions()[1:], torch.is_autocast_enabled("cpu")))
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            seen.append(("backward", precisions()[1:], torch.is_autocast_enabled("cpu")))
            return gradient

    @in_full_precision
    def loss(x, *, power=2):
        return (Watch.apply(x) ** power).sum()

    x = torch.ones(3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        (5 * loss(x, power=3)).backward()
    assert x.grad.tolist() == [15, 15, 15]
    assert [(way, autocast) for way, _, autocast in seen] == [("forward", False), ("backward", False)]
    if PER_LIBRARY:
        assert all((settings[1], settings[3]) == ("ieee", "ieee") for _, settings, _ in seen)
