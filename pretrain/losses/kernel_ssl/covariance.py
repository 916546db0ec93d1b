"""The alignment term on the d x d side, with closed-form gradient: the cheaper side when d < m.

``S = C(online, online)`` and ``P = C(target, target)``, both (d, d) and symmetric. (The uniformity term is the same
function of C(target, online) on either side: ``gram.uniformity_*``.)
"""

import torch
from torch import Tensor

from pretrain.losses.kernel_ssl.eigen import matrix_function_gradient
from pretrain.losses.kernel_ssl.gram import TermGradients
from pretrain.losses.kernel_ssl.series import add_to_diagonal, log_coefficients, powers
from pretrain.losses.kernel_ssl.symmetric import symmetric_product


def alignment_taylor(target: Tensor, auto: Tensor, mu: float, order: int, trace_term: bool) -> TermGradients:
    """Return ``-tr((P + mu I) log_K(S + mu I)) [+ tr(S + mu I)]`` and its gradient by S."""
    a = log_coefficients(order, mu)
    weight = add_to_diagonal(target.clone(), mu)
    ladder = powers(auto, order, symmetric_product)
    value = a[0] * weight.diagonal().sum()
    gradient = a[1] * weight
    inner = weight
    for j in range(1, order + 1):
        value = value + a[j] * torch.vdot(weight.reshape(-1), ladder[j - 1].reshape(-1))
        if j >= 2:
            # R_n = sum_i S^i W S^(n-i), n = j - 1, by R_n = S R_(n-1) + W S^n.
            product = weight @ ladder[j - 2]
            inner = product + product.mT if j == 2 else torch.addmm(product, auto, inner)
            gradient.add_(inner, alpha=a[j])
    value, gradient = -value, gradient.neg_()
    if trace_term:
        value = value + auto.diagonal().sum() + mu * len(auto)
        gradient = add_to_diagonal(gradient, 1.0)
    return TermGradients(value, None, gradient)


def alignment_exact(target: Tensor, auto: Tensor, mu: float, trace_term: bool) -> TermGradients:
    """Return the same term with the exact logarithm, by one eigendecomposition of S; `mu` > 0, float64."""
    values, vectors = torch.linalg.eigh(auto)
    values = values.clamp_min(0.0) + mu
    weight = add_to_diagonal(target.clone(), mu)
    rotated = vectors.mT @ weight @ vectors
    f = values.log()
    value = -(rotated.diagonal() * f).sum()
    gradient = -matrix_function_gradient(values, vectors, rotated, f, torch.reciprocal, 0.0)
    if trace_term:
        value = value + auto.diagonal().sum() + mu * len(auto)
        gradient = add_to_diagonal(gradient, 1.0)
    return TermGradients(value, None, gradient)
