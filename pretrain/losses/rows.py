"""What the baselines' losses share: checks of their arguments, unit rows, the off-diagonal part of a matrix."""

import math

import torch
from torch import Tensor

_LEAST_SQUARE = 1e-12


def check_rows(least: int = 1, **features: Tensor) -> None:
    """Raise ``ValueError`` unless all `features` are matrices of one shape (m, d) with at least `least` rows."""
    names, shapes = ", ".join(features), {tuple(x.shape) for x in features.values()}
    if len(shapes) != 1 or any(len(shape) != 2 for shape in shapes):
        raise ValueError(f"{names} must share one shape (m, d); they have {sorted(shapes)}.")
    ((rows, _),) = shapes
    if rows < least:
        raise ValueError(f"{names} have {rows} row(s); this loss needs at least {least}.")


def check_positive(**values: float) -> None:
    """Raise ``ValueError`` for a hyper-parameter that is not a finite number above 0."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}; it must be a finite number above 0.")


def check_not_negative(**values: float) -> None:
    """Raise ``ValueError`` for a hyper-parameter that is not a finite number of 0 or more."""
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value}; it must be a finite number of 0 or more.")


def unit_rows(features: Tensor) -> Tensor:
    """Return (m, d) features with rows of length 1, as TensorFlow's and JAX's ``l2_normalize`` do it.

    The *square* of the length is held at 1e-12 or more, so rows shorter than 1e-6 stay shorter than 1. torch's
    ``normalize`` holds the length itself at 1e-12.
    """
    return features * features.square().sum(1, keepdim=True).clamp_min(_LEAST_SQUARE).rsqrt()


def off_diagonal(matrix: Tensor) -> Tensor:
    """Return a view of the d (d - 1) entries beside the diagonal of a contiguous (d, d) matrix, as (d - 1, d)."""
    size = len(matrix)
    return matrix.view(-1)[:-1].view(size - 1, size + 1)[:, 1:]


def with_gradient_of(value: Tensor, variable: Tensor) -> Tensor:
    """Return `value`, passing its gradient on to `variable` unchanged (shapes must agree)."""
    return value.detach() + (variable - variable.detach())


def without_gradient(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors as constants: what a loss treats as a target gets no gradient, whatever the caller passes."""
    return [x.detach() for x in tensors]


def mean_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean over rows of the cosine of (m, d) `a` and `b`; each length is held at 1e-8 or more."""
    return torch.nn.functional.cosine_similarity(a, b, dim=1, eps=1e-8).mean()
