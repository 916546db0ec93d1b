"""Kernels for the covariance operators: Gram matrices of unit rows, doubly centred, divided by m.

A covariance operator in the kernel's feature space has the non-zero spectrum of its centred Gram matrix / m, so any
positive-definite kernel serves where inner products did (an open question of arXiv 2305.17326).
"""

import torch
from torch import Tensor


def kernel_matrix(a: Tensor, b: Tensor, kernel: str, bandwidth: Tensor | float | None, degree: int) -> Tensor:
    """Return ``k(a_i, b_j)``, (m, n), of rows with norm 1; k(x, x) = 1 for every kernel.

    linear: <a, b>.  rbf: exp(-|a - b|^2 / (2 h^2)).  laplace: exp(-|a - b| / h).
    polynomial: ((1 + <a, b>) / 2)^degree.
    """
    if kernel == "linear":
        return a @ b.mT
    if kernel == "polynomial":
        return ((1.0 + a @ b.mT) / 2.0) ** degree
    # Differences are taken directly: |a|^2 + |b|^2 - 2<a, b> loses small distances, and the square root's gradient
    # at a rounded zero is infinite.
    distance = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    if kernel == "rbf":
        return torch.exp(-0.5 * (distance / bandwidth) ** 2)
    return torch.exp(-distance / bandwidth)


def median_bandwidth(rows: Tensor) -> Tensor:
    """Return the median distance between different rows (the median rule), without gradient, 1 if all coincide."""
    rows = rows.detach()
    distance = torch.pdist(rows)
    median = distance.median()
    return torch.where(median > 0, median, torch.ones_like(median))


def doubly_centred(matrix: Tensor) -> Tensor:
    """Return ``J K J`` without forming J = I - 11' / m."""
    return matrix - matrix.mean(0, keepdim=True) - matrix.mean(1, keepdim=True) + matrix.mean()
