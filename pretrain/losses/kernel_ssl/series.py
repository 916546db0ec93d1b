"""The matrix logarithm as a polynomial.

``log_K(Q) = sum_{k=1..K} (-1)^(k+1) (Q - I)^k / k`` with ``Q = X + mu I`` is a polynomial in X with scalar
coefficients (arXiv 2305.17326, section on the Taylor expansion; K = 4 in the released code). It converges while the
spectral radius of ``Q - I`` is below 1 (``radius.py``).
"""

from collections.abc import Callable
from math import comb

import torch
from torch import Tensor


def log_coefficients(order: int, mu: float) -> list[float]:
    """Return ``a`` with ``log_K(X + mu I) = sum_j a[j] X^j``, j = 0..order; `order` >= 1."""
    shift = mu - 1.0
    coefficients = [0.0] * (order + 1)
    for k in range(1, order + 1):
        sign = 1.0 if k % 2 else -1.0
        for j in range(k + 1):
            coefficients[j] += sign / k * comb(k, j) * shift ** (k - j)
    return coefficients


def powers(matrix: Tensor, highest: int, multiply: Callable[[Tensor, Tensor], Tensor] = torch.matmul) -> list[Tensor]:
    """Return ``[matrix, matrix^2, ..., matrix^highest]`` for a square matrix; at least the first.

    Give ``symmetric_product`` as `multiply` for a symmetric matrix.
    """
    found = [matrix]
    while len(found) < highest:
        found.append(multiply(found[-1], matrix))
    return found


def add_to_diagonal(matrix: Tensor, value: float) -> Tensor:
    """Add `value` to the diagonal in place and return the matrix."""
    matrix.diagonal().add_(value)
    return matrix
