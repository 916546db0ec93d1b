"""Full precision for the losses, whatever the network runs in, forward and backward."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Who multiplies float32 matrices: cuBLAS on a GPU, oneDNN on a CPU. Both have their own setting, and where that is
# "none" they follow the next one here.
_CHAINS = (
    (torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends),
    (torch.backends.mkldnn.matmul, torch.backends),
)
# torch 2.9 and newer have a setting per library; the older ones have one for all, which newer ones refuse to read
# once a program has used the new settings.
_SETTING_PER_LIBRARY = hasattr(torch.backends, "fp32_precision")


@contextlib.contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Switch off autocast and the TF32 or bfloat16 products that a program may have allowed; put all back at the end.

    Powers of a matrix and sums of small eigenvalues do not survive 10 bits of mantissa.

    Args:
        device_type: ``cpu`` or ``cuda``, the device of the features.
    """
    with _exact_products(), torch.autocast(device_type, enabled=False):
        yield


@contextlib.contextmanager
def _exact_products() -> Iterator[None]:
    if not _SETTING_PER_LIBRARY:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    settings = [_own_setting(chain) for chain in _CHAINS]
    for multiplier, *_ in _CHAINS:
        multiplier.fp32_precision = "ieee"
    try:
        yield
    finally:
        for (multiplier, *_), before in zip(_CHAINS, settings, strict=True):
            multiplier.fp32_precision = before


def _own_setting(chain: Sequence[Any]) -> str:
    """Return what the first of a chain was set to itself, "none" where it follows the next one.

    torch tells what is in force and not who said so; so the next one is changed for a moment, and who follows shows.
    """
    first, *rest = chain
    value = str(first.fp32_precision)
    if value == "none" or not rest:
        return value
    followed = _own_setting(rest)
    rest[0].fp32_precision = "ieee" if value != "ieee" else "tf32"
    try:
        return value if first.fp32_precision == value else "none"
    finally:
        rest[0].fp32_precision = followed


def in_full_precision(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a loss written in plain torch compute its value *and its gradient* in full precision.

    Autograd runs the backward pass after the loss has returned, under whatever precision the program has then: TF32
    would come back in the gradient. So the gradient is taken together with the value, and kept until it is asked for.

    The decorated function computes in float32, or in float64 where an argument is float64, with autocast off. Its
    gradients have the dtypes of the arguments. It can be differentiated once.
    """
    signature = inspect.signature(loss)

    @functools.wraps(loss)
    def wrapped(*args: Any, **kwargs: Any) -> Tensor:
        bound = signature.bind(*args, **kwargs).arguments
        names = [name for name, value in bound.items() if isinstance(value, Tensor)]
        others = {name: value for name, value in bound.items() if name not in names}

        def compute(*tensors: Tensor) -> Tensor:
            return loss(**dict(zip(names, tensors, strict=True)), **others)

        return _ValueAndGradient.apply(compute, torch.is_grad_enabled(), *(bound[name] for name in names))

    return wrapped


class _ValueAndGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, compute: Callable[..., Tensor], with_gradient: bool, *tensors: Tensor) -> Tensor:
        dtype = torch.float64 if any(x.dtype == torch.float64 for x in tensors) else torch.float32
        leaves = [x.detach().to(dtype) if x.is_floating_point() else x for x in tensors]
        wanted = [with_gradient and needed for needed in ctx.needs_input_grad[2:]]
        leaves = [x.requires_grad_() if need else x for x, need in zip(leaves, wanted, strict=True)]
        with torch.set_grad_enabled(any(wanted)), full_precision(tensors[0].device.type):
            value = compute(*leaves)
            online = [x for x in leaves if x.requires_grad]
            # What the loss takes for a constant gets none, even if the caller's tensor asks for one.
            found = iter(torch.autograd.grad(value, online, allow_unused=True) if online else ())
        ctx.save_for_backward(*(next(found) if need else None for need in wanted))
        ctx.dtypes = [x.dtype for x in tensors]
        return value.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # In float32 until here: fp16's scale must come in before a small gradient is rounded to half precision.
        scaled = [
            None if found is None else (found * gradient).to(dtype)
            for found, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return None, None, *scaled
