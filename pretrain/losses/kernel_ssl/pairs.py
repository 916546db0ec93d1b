"""One pair of branches, target and online: loss, uniformity and alignment, with the gradient by the online rows.

The gradient is computed together with the value, so backward is one multiplication and keeps no graph.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pretrain.loss_options import LossOptions
from pretrain.losses.kernel_ssl import covariance, gram
from pretrain.losses.kernel_ssl.gram import TermGradients
from pretrain.losses.kernel_ssl.kernels import doubly_centred, kernel_matrix
from pretrain.losses.kernel_ssl.rows import centred_unit_rows, gradient_by_features
from pretrain.losses.kernel_ssl.symmetric import symmetric_product


def linear_pair(target: Tensor, online: Tensor, options: LossOptions) -> tuple[Tensor, Tensor, Tensor]:
    """Return (loss, uniformity, alignment) of features, (m, d), on the smaller side; the first has a gradient.

    Features are float32 or float64, not yet normalised. The two terms come unweighted; the loss is
    ``uniformity + gamma * alignment + HSIC addition``.
    """
    return _LinearPair.apply(online, target, options)


def kernel_pair(
    target: Tensor, online: Tensor, options: LossOptions, bandwidth: Tensor | float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same for any kernel, on the m x m side; `bandwidth` of rbf and laplace, otherwise None.

    The dimension of the kernel's feature space enters the value by a constant alone; d stands in for it.
    """
    return _KernelPair.apply(F.normalize(online, dim=1), F.normalize(target, dim=1), options, bandwidth)


def _weighted(terms: list[tuple[float, TermGradients]], name: str) -> Tensor | None:
    """Return the weighted sum of the terms' gradients by one matrix, None when no term has one."""
    parts = [(weight, getattr(term, name)) for weight, term in terms if weight and getattr(term, name) is not None]
    if not parts:
        return None
    total = parts[0][1] if parts[0][0] == 1.0 else parts[0][1] * parts[0][0]
    for weight, part in parts[1:]:
        total = total.add(part, alpha=weight)
    return total


def _uniformity(cross: Tensor, width: int, o: LossOptions) -> TermGradients:
    if o.uniformity == "none":
        return TermGradients(cross.new_zeros(()), None, None)
    if o.logarithm == "exact":
        return gram.uniformity_exact(cross, width, o.mu, o.lam, o.trace_term)
    return gram.uniformity_taylor(cross, width, o.mu, o.lam, o.taylor_order, o.trace_term)


def _trace(cross: Tensor) -> TermGradients:
    """Return ``-tr C(target, online)``."""
    return TermGradients(-cross.diagonal().sum(), -torch.eye(len(cross), dtype=cross.dtype, device=cross.device), None)


def _gram_terms(
    cross: Tensor, auto: Tensor | None, targets: Tensor | None, trace_target: Tensor, width: int, o: LossOptions
) -> list[tuple[float, TermGradients]]:
    """Return (weight, term) of one pair on the m x m side: uniformity, alignment, HSIC; `targets` is K_pp / m."""
    terms = [(1.0, _uniformity(cross, width, o))]
    if o.alignment == "mce" and o.logarithm == "exact":
        term = gram.alignment_exact(cross, auto, trace_target, width, o.mu, o.trace_term)
    elif o.alignment == "mce":
        term = gram.alignment_taylor(cross, auto, trace_target, width, o.mu, o.taylor_order, o.trace_term)
    elif o.alignment == "trace":
        term = _trace(cross)
    elif o.alignment == "hsic":
        term = TermGradients(-(targets * auto).sum(), None, -targets)
    else:
        term = TermGradients(cross.new_zeros(()), None, None)
    terms.append((o.gamma, term))
    if o.hsic_weight:
        terms.append((_hsic_weight(o), TermGradients(-(targets * auto).sum(), None, -targets)))
    return terms


def _hsic_weight(o: LossOptions) -> float:
    """The first released version adds the HSIC term to each of the four terms, those of alignment inside gamma."""
    return o.hsic_weight * ((o.uniformity != "none") + o.gamma * (o.alignment != "none"))


def _covariance_terms(
    cross: Tensor, auto: Tensor | None, target: Tensor | None, o: LossOptions
) -> list[tuple[float, TermGradients]]:
    """Return (weight, term) of one pair on the d x d side; tr(p p' J z z' J) / m^2 = |C(p, z)|_F^2."""
    terms = [(1.0, _uniformity(cross, len(cross), o))]
    hsic = TermGradients(-(cross**2).sum(), -2.0 * cross, None) if o.hsic_weight or o.alignment == "hsic" else None
    if o.alignment == "mce" and o.logarithm == "exact":
        term = covariance.alignment_exact(target, auto, o.mu, o.trace_term)
    elif o.alignment == "mce":
        term = covariance.alignment_taylor(target, auto, o.mu, o.taylor_order, o.trace_term)
    elif o.alignment == "trace":
        term = _trace(cross)
    elif o.alignment == "hsic":
        term = hsic
    else:
        term = TermGradients(cross.new_zeros(()), None, None)
    terms.append((o.gamma, term))
    if o.hsic_weight:
        terms.append((_hsic_weight(o), hsic))
    return terms


def _sums(terms: list[tuple[float, TermGradients]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return (loss, uniformity, alignment) of one pair; the HSIC addition counts in the loss alone."""
    loss = sum(weight * term.value for weight, term in terms)
    return loss, terms[0][1].value, terms[1][1].value


class _LinearPair(torch.autograd.Function):
    """Loss of one pair of feature matrices; the gradient by `online` is computed in forward."""

    @staticmethod
    def forward(ctx: Any, online: Tensor, target: Tensor, o: LossOptions) -> tuple[Tensor, Tensor, Tensor]:
        centred = centred_unit_rows(online)
        z, p = centred.rows, centred_unit_rows(target).rows
        m, d = z.shape
        terms = _gram_side(z, p, o) if m <= d else _covariance_side(z, p, o)
        loss, uniformity, alignment = _sums(terms)
        if ctx.needs_input_grad[0]:
            by_cross, by_auto = _weighted(terms, "by_cross"), _weighted(terms, "by_auto")
            gradient = _gradient_by_rows(z, p, by_cross, by_auto, m <= d)
            ctx.save_for_backward(gradient_by_features(gradient, centred))
        ctx.mark_non_differentiable(uniformity, alignment)
        return loss, uniformity, alignment

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor, *_: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return by_loss * gradient, None, None


def _gram_side(z: Tensor, p: Tensor, o: LossOptions) -> list[tuple[float, TermGradients]]:
    """Return (weight, term) of centred unit rows by m x m matrices."""
    m, d = z.shape
    cross = (z @ p.mT).div_(m)
    needs_targets = o.alignment == "hsic" or bool(o.hsic_weight)
    needs_auto = needs_targets or o.alignment == "mce"
    auto = symmetric_product(z, z.mT).div_(m) if needs_auto else None
    targets = symmetric_product(p, p.mT).div_(m) if needs_targets else None
    return _gram_terms(cross, auto, targets, torch.vdot(p.reshape(-1), p.reshape(-1)) / m, d, o)


def _covariance_side(z: Tensor, p: Tensor, o: LossOptions) -> list[tuple[float, TermGradients]]:
    """Return (weight, term) of centred unit rows by d x d matrices."""
    m = len(z)
    mce = o.alignment == "mce"
    auto = symmetric_product(z.mT, z).div_(m) if mce else None
    return _covariance_terms((p.mT @ z).div_(m), auto, symmetric_product(p.mT, p).div_(m) if mce else None, o)


def _gradient_by_rows(z: Tensor, p: Tensor, by_cross: Tensor | None, by_auto: Tensor | None, gram_side: bool) -> Tensor:
    """Turn gradients by the two matrices into the gradient by the rows `z`, (m, d). They are scaled in place."""
    m = len(z)
    gradient = None
    if by_cross is not None:
        by_cross.div_(m)
        gradient = by_cross @ p if gram_side else p @ by_cross
    if by_auto is not None:
        by_auto.mul_(2.0 / m)
        product = (by_auto, z) if gram_side else (z, by_auto)
        gradient = torch.mm(*product) if gradient is None else gradient.addmm_(*product)
    return torch.zeros_like(z) if gradient is None else gradient


class _KernelPair(torch.autograd.Function):
    """Loss of one pair of unit-row matrices through doubly centred Gram matrices of a kernel."""

    @staticmethod
    def forward(
        ctx: Any, online: Tensor, target: Tensor, o: LossOptions, bandwidth: Tensor | float | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        def gram_matrix(a: Tensor, b: Tensor) -> Tensor:
            return doubly_centred(kernel_matrix(a, b, o.kernel, bandwidth, o.degree)) / len(a)

        rows = online.detach().requires_grad_()
        with torch.enable_grad():
            cross, auto = gram_matrix(rows, target), gram_matrix(rows, rows)
        targets = gram_matrix(target, target)
        terms = _gram_terms(cross.detach(), auto.detach(), targets, targets.diagonal().sum(), online.shape[1], o)
        loss, uniformity, alignment = _sums(terms)
        if ctx.needs_input_grad[0]:
            # Here rather than in backward, where the caller's precision would hold.
            parts = ((cross, _weighted(terms, "by_cross")), (auto, _weighted(terms, "by_auto")))
            used = [(matrix, gradient) for matrix, gradient in parts if gradient is not None]
            matrices, gradients = zip(*used, strict=True)
            ctx.save_for_backward(*torch.autograd.grad(matrices, rows, gradients))
        ctx.mark_non_differentiable(uniformity, alignment)
        return loss, uniformity, alignment

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor, *_: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return by_loss * gradient, None, None, None
