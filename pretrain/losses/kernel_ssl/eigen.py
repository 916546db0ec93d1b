"""Gradients of matrix functions by eigendecomposition, exact where eigenvalues coincide.

``torch.linalg.eigh`` has no gradient at repeated eigenvalues, and centred features always have some (zeros). The
Daleckii-Krein formula needs only divided differences of the scalar function, which are finite there. Give float64:
divided differences lose half of the digits.
"""

from collections.abc import Callable

import torch
from torch import Tensor

_SMALL = 0.05  # below this ratio log(1 + x) / x and its derivative come from their series
_TERMS = 14  # 0.05^14 is below float64's rounding
_CLOSE = 1e-5  # eigenvalues relatively nearer than this share the derivative at their middle


def log_quotient(values: Tensor, mu: float) -> tuple[Tensor, Tensor]:
    """Return ``f(g) = log(1 + g / mu) / g`` and ``f'(g)`` for g >= 0, also at g = 0, where f = 1 / mu; mu > 0."""
    x = values / mu
    safe = x.clamp_min(_SMALL)
    direct = torch.log1p(safe) / safe
    slope = (1.0 / (1.0 + safe) - direct) / safe
    series = sum((-x) ** k / (k + 1) for k in range(_TERMS))
    series_slope = sum((-1.0) ** k * k * x ** (k - 1) / (k + 1) for k in range(1, _TERMS))
    small = x < _SMALL
    return torch.where(small, series, direct) / mu, torch.where(small, series_slope, slope) / mu**2


def matrix_function_gradient(
    values: Tensor, vectors: Tensor, rotated: Tensor, f: Tensor, derivative: Callable[[Tensor], Tensor], scale: float
) -> Tensor:
    """Return the gradient of ``tr(W f(G))`` by the symmetric G = V diag(values) V'.

    Args:
        values: eigenvalues, (n,), none negative.  vectors: V, (n, n).
        rotated: ``V' W V``, (n, n), W symmetric.
        f: f(values), (n,).
        derivative: f' for a tensor of any shape.
        scale: f is smooth at value g on the scale ``g + scale``.
    """
    difference = values[:, None] - values[None, :]
    middle = (values[:, None] + values[None, :]) / 2
    close = difference.abs() < _CLOSE * (middle + scale)
    quotient = (f[:, None] - f[None, :]) / torch.where(close, torch.ones_like(difference), difference)
    return vectors @ (torch.where(close, derivative(middle), quotient) * rotated) @ vectors.mT
