"""Uniformity and alignment of one pair of branches on the m x m side, with closed-form gradients.

Everything is written in the Gram matrices of doubly centred rows, so it serves any positive-definite kernel:
``M = K_zp / m`` (online against target) and ``G = K_zz / m`` (online), both (m, m). They share their non-zero spectrum
with C(target, online)' and C(online, online); ``tr(C_pp C_zz^j) = tr(M' G^(j-1) M)`` for j >= 1. Use it when m <= d.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pretrain.losses.kernel_ssl.eigen import log_quotient, matrix_function_gradient
from pretrain.losses.kernel_ssl.series import add_to_diagonal, log_coefficients, powers
from pretrain.losses.kernel_ssl.symmetric import symmetric_product


class TermGradients(NamedTuple):
    """A term's value (0-dimensional) and its gradients by the two matrices that it is a function of (None: zero)."""

    value: Tensor
    by_cross: Tensor | None
    by_auto: Tensor | None


def uniformity_taylor(cross: Tensor, width: int, mu: float, lam: float, order: int, trace_term: bool) -> TermGradients:
    """Return ``-lam tr log_K(C + mu I_width) [+ tr(C + mu I)]`` for any square `cross` with C's non-zero spectrum."""
    a = log_coefficients(order, mu)
    ladder = powers(cross, order - 1)
    value = a[0] * width + a[1] * cross.diagonal().sum()
    gradient = torch.zeros_like(cross)
    turned = cross.mT.reshape(-1)
    for j in range(2, order + 1):
        # tr(C^j) = sum(C^(j-1) * C'): the highest power is never formed.
        value = value + a[j] * torch.vdot(ladder[j - 2].reshape(-1), turned)
        gradient.add_(ladder[j - 2], alpha=j * a[j])
    add_to_diagonal(gradient, a[1])
    value, gradient = -lam * value, gradient.mT.mul(-lam)
    if trace_term:
        value = value + cross.diagonal().sum() + mu * width
        gradient = add_to_diagonal(gradient, 1.0)
    return TermGradients(value, gradient, None)


def uniformity_exact(cross: Tensor, width: int, mu: float, lam: float, trace_term: bool) -> TermGradients:
    """Return the same term with the exact logarithm, ``-lam log|det(C + mu I_width)|``.

    Give float64. The modulus of the determinant is the real part of tr log when eigenvalues are negative; an eigenvalue
    of exactly -mu gives infinity.
    """
    shifted = add_to_diagonal(cross.clone(), mu)
    value = -lam * (torch.linalg.slogdet(shifted).logabsdet + (width - len(cross)) * math.log(mu))
    gradient = torch.linalg.inv_ex(shifted).inverse.mT.mul(-lam)
    if trace_term:
        value = value + cross.diagonal().sum() + mu * width
        gradient = add_to_diagonal(gradient, 1.0)
    return TermGradients(value, gradient, None)


def alignment_taylor(
    cross: Tensor, auto: Tensor, trace_target: Tensor, width: int, mu: float, order: int, trace_term: bool
) -> TermGradients:
    """Return ``-tr((C_pp + mu I) log_K(C_zz + mu I)) [+ tr(C_zz + mu I)]`` from M, G and tr(C_pp)."""
    a = log_coefficients(order, mu)
    # With D = M M' + mu G the term is -a_0 (tr C_pp + mu d) - sum_j a_j tr(D G^(j-1)).
    weight = symmetric_product(cross, cross.mT).add_(auto, alpha=mu)
    ladder = powers(auto, max(order - 1, 1), symmetric_product)
    value = a[0] * (trace_target + mu * width) + a[1] * weight.diagonal().sum()
    by_weight = torch.zeros_like(auto)
    for j in range(2, order + 1):
        value = value + a[j] * torch.vdot(weight.reshape(-1), ladder[j - 2].reshape(-1))  # both symmetric
        by_weight.add_(ladder[j - 2], alpha=a[j])
    add_to_diagonal(by_weight, a[1])
    by_auto = by_weight.mul(mu)
    if order >= 2:
        _add_inner_sums(by_auto, weight, auto, ladder, a)
    by_cross = torch.mm(by_weight, cross).mul_(-2.0)
    value, by_auto = -value, by_auto.neg_()
    if trace_term:
        value = value + auto.diagonal().sum() + mu * width
        by_auto = add_to_diagonal(by_auto, 1.0)
    return TermGradients(value, by_cross, by_auto)


def _add_inner_sums(total: Tensor, weight: Tensor, auto: Tensor, ladder: list[Tensor], a: list[float]) -> None:
    """Add ``sum_{j>=2} a_j R_(j-2)`` to `total`, R_n = sum_i G^i D G^(n-i), D and G symmetric.

    R_1 = D G + (D G)'; R_2 = H + H' with H = (D G + (D G)' / 2) G, one product instead of two, since order 4 is the
    default; from there R_n = G R_(n-1) + D G^n.
    """
    total.add_(weight, alpha=a[2])
    if len(a) > 3:
        first = weight @ auto
        turned = first.mT.contiguous()
        total.add_(first, alpha=a[3]).add_(turned, alpha=a[3])
    if len(a) > 4:
        half = first.add_(turned, alpha=0.5) @ auto
        inner = half.add_(half.mT.contiguous())
        total.add_(inner, alpha=a[4])
    for n in range(3, len(a) - 2):
        inner = torch.addmm(weight @ ladder[n - 1], auto, inner)
        total.add_(inner, alpha=a[n + 2])


def alignment_exact(
    cross: Tensor, auto: Tensor, trace_target: Tensor, width: int, mu: float, trace_term: bool
) -> TermGradients:
    """Return the alignment term with the exact logarithm, by one eigendecomposition of G; `mu` > 0, float64.

    ``log(C_zz + mu I) = log(mu) I + z' f(G) z / m`` with ``f(g) = log(1 + g / mu) / g``.
    """
    values, vectors = torch.linalg.eigh(auto)
    values = values.clamp_min(0.0)  # rounding makes zeros of a Gram matrix slightly negative
    f, _ = log_quotient(values, mu)
    weight = cross @ cross.mT
    rotated = vectors.mT @ weight @ vectors
    value = math.log(mu) * (trace_target + mu * width) + (rotated.diagonal() * f).sum()
    value = value + mu * torch.log1p(values / mu).sum()
    by_weight = (vectors * f) @ vectors.mT
    by_auto = matrix_function_gradient(values, vectors, rotated, f, lambda g: log_quotient(g, mu)[1], mu)
    by_auto = by_auto + (vectors * (mu / (values + mu))) @ vectors.mT
    value, by_cross, by_auto = -value, -2.0 * (by_weight @ cross), -by_auto
    if trace_term:
        value = value + auto.diagonal().sum() + mu * width
        by_auto = add_to_diagonal(by_auto, 1.0)
    return TermGradients(value, by_cross, by_auto)
