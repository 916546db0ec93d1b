"""One pair of branches, target and online: loss, uniformity and alignment, with the gradient by the online rows.

The gradient is computed together with the value, so backward is one multiplication and keeps no graph.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pretrain.loss_options import LossOptions
from pretrain.losses import covariance, gram
from pretrain.losses.gram import TermGradients
from pretrain.losses.kernels import doubly_centred, kernel_matrix


def linear_pair(target: Tensor, online: Tensor, options: LossOptions) -> tuple[Tensor, Tensor, Tensor]:
    """Return (loss, uniformity, alignment) of unit-row matrices, (m, d), on the smaller side; the first has a gradient.

    The two terms come unweighted; the loss is ``uniformity + gamma * alignment + HSIC addition``.
    """
    return _LinearPair.apply(online - online.mean(0), target - target.mean(0), options)


def kernel_pair(
    target: Tensor, online: Tensor, options: LossOptions, bandwidth: Tensor | float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same for any kernel, on the m x m side; `bandwidth` of rbf and laplace, otherwise None.

    The dimension of the kernel's feature space enters the value by a constant alone; d stands in for it.
    """
    return _KernelPair.apply(online, target, options, bandwidth)


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
    """Loss of one pair of normalised, centred matrices; the gradient by `online` is computed in forward."""

    @staticmethod
    def forward(ctx: Any, online: Tensor, target: Tensor, o: LossOptions) -> tuple[Tensor, Tensor, Tensor]:
        m, d = online.shape
        needs_auto = o.alignment in ("mce", "hsic") or bool(o.hsic_weight)
        if m <= d:
            cross = (online @ target.mT).div_(m)
            auto = (online @ online.mT).div_(m) if needs_auto else None
            needs_targets = o.alignment == "hsic" or bool(o.hsic_weight)
            targets = (target @ target.mT).div_(m) if needs_targets else None
            terms = _gram_terms(cross, auto, targets, target.square().sum() / m, d, o)
        else:
            cross = (target.mT @ online).div_(m)
            mce = o.alignment == "mce"
            auto = (online.mT @ online).div_(m) if mce else None
            terms = _covariance_terms(cross, auto, (target.mT @ target).div_(m) if mce else None, o)
        loss, uniformity, alignment = _sums(terms)
        if ctx.needs_input_grad[0]:
            by_cross, by_auto = _weighted(terms, "by_cross"), _weighted(terms, "by_auto")
            ctx.save_for_backward(_gradient_by_rows(online, target, by_cross, by_auto, m <= d))
        ctx.mark_non_differentiable(uniformity, alignment)
        return loss, uniformity, alignment

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor, *_: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return by_loss * gradient, None, None


def _gradient_by_rows(
    online: Tensor, target: Tensor, by_cross: Tensor | None, by_auto: Tensor | None, gram_side: bool
) -> Tensor:
    """Turn gradients by the two matrices into the gradient by the rows of `online`, (m, d)."""
    m = len(online)
    gradient = torch.zeros_like(online)
    if by_cross is not None:
        product = (by_cross, target) if gram_side else (target, by_cross)
        gradient = torch.mm(*product).div_(m)
    if by_auto is not None:
        product = (by_auto, online) if gram_side else (online, by_auto)
        gradient = torch.addmm(gradient, *product, alpha=2.0 / m)
    return gradient


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
