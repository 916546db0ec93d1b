"""The Kernel-SSL / Matrix-SSL objective (arXiv 2305.17326), as its released code computes it, and its variants.

    U(target, online) = -tr( lam log_K( C(target, online) + mu I ) )                        kernel uniformity
    A(target, online) = -tr( (C(target, target) + mu I) log_K( C(online, online) + mu I ) )  kernel alignment
    loss = 1/2 [U(t2, o1) + U(t1, o2)] + gamma 1/2 [A(t2, o1) + A(t1, o2)]

Rows are L2-normalised, then centred; C(a, b) = a' b / m. The paper's MCE(P, Q) = tr(-P log Q + Q) has a term tr(Q)
that the released code leaves out (``trace_term``). Computed on the m x m or d x d side, whichever is cheaper, in
float32 or wider with autocast off; the gradient is closed-form and reaches the online arguments alone.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pretrain.loss_options import WITH_BANDWIDTH, LossOptions
from pretrain.losses import covariance, gram
from pretrain.losses.gram import TermGradients
from pretrain.losses.kernels import doubly_centred, kernel_matrix, median_bandwidth
from pretrain.losses.series import spectral_radius

RADIUS_WARNING = 0.9


@dataclass(frozen=True)
class LossTerms:
    """The loss and what it is made of; all 0-dimensional tensors.

    Attributes:
        loss: carries the gradient.
        uniformity, alignment: the two terms averaged over the two crossed pairs, without gradient (0 when off).
        radius_uniformity, radius_alignment: spectral radius of Q - I of each term, the larger of the two pairs; the
            Taylor series converges below 1. None unless asked for, and for a term without a logarithm.
    """

    loss: Tensor
    uniformity: Tensor
    alignment: Tensor
    radius_uniformity: Tensor | None = None
    radius_alignment: Tensor | None = None


def kernel_ssl_loss(online_1: Tensor, online_2: Tensor, target_1: Tensor, target_2: Tensor, **options: Any) -> Tensor:
    """Return the Kernel-SSL loss, a 0-dimensional tensor.

    Args:
        online_1, online_2: predictor outputs of views 1 and 2, (m, d), any floating dtype; they get the gradient.
        target_1, target_2: momentum-projector outputs of views 1 and 2, (m, d); constants.
        **options: the fields of ``LossOptions`` (mu, lam, gamma, taylor_order, logarithm, uniformity, alignment,
            trace_term, hsic_weight, kernel, bandwidth, degree).

    Raises:
        UserError: options that make no sense together.  ValueError: shapes that differ, or fewer than 2 rows.
    """
    return kernel_ssl_terms(online_1, online_2, target_1, target_2, LossOptions(**options)).loss


def kernel_ssl_terms(
    online_1: Tensor,
    online_2: Tensor,
    target_1: Tensor,
    target_2: Tensor,
    options: LossOptions,
    *,
    with_radius: bool = False,
) -> LossTerms:
    """Return the loss with its terms (see ``kernel_ssl_loss``); `with_radius` adds the spectral radii for a log."""
    _check_shapes(online_1, online_2, target_1, target_2)
    with torch.autocast(online_1.device.type, enabled=False):
        targets = [_unit_rows(target.detach()) for target in (target_1, target_2)]
        onlines = [_unit_rows(online) for online in (online_1, online_2)]
        bandwidth = _bandwidth(targets, options)
        # The views are crossed: target 2 with online 1, target 1 with online 2.
        pairs = [(targets[1], onlines[0]), (targets[0], onlines[1])]
        results = [_pair(target, online, options, bandwidth) for target, online in pairs]
        loss, uniformity, alignment = (torch.stack(values).mean() for values in zip(*results, strict=True))
        radii: tuple[Tensor | None, Tensor | None] = (None, None)
        if with_radius:
            radii = _radii(pairs, options, bandwidth)
    return LossTerms(loss, uniformity, alignment, *radii)


def radius_warning(terms: LossTerms, options: LossOptions) -> str | None:
    """Return one sentence when a spectral radius is near or beyond 1 under the Taylor logarithm, otherwise None."""
    if options.logarithm != "taylor":
        return None
    radii = {"uniformity": terms.radius_uniformity, "alignment": terms.radius_alignment}
    for term, radius in radii.items():
        if radius is not None and not float(radius) < RADIUS_WARNING:
            return (
                f"the spectral radius of Q - I in the {term} term is {float(radius):.2f}: near 1 the order-"
                f"{options.taylor_order} logarithm is far from the exact one and its gradient misleads (features have "
                "collapsed to few directions, or mu does not suit); look at the effective rank, use --mu 1, a smaller "
                "--gamma, or --logarithm exact."
            )
    return None


def _check_shapes(*features: Tensor) -> None:
    shapes = {tuple(x.shape) for x in features}
    if len(shapes) != 1 or features[0].ndim != 2:
        raise ValueError(f"the four feature matrices must share one shape (m, d), got {sorted(shapes)}")
    if len(features[0]) < 2:
        raise ValueError("the loss needs at least 2 rows: one row centred is zero")


def _unit_rows(x: Tensor) -> Tensor:
    """L2-normalise rows in float32 or wider."""
    return F.normalize(x if x.dtype == torch.float64 else x.float(), dim=1)


def _bandwidth(targets: list[Tensor], options: LossOptions) -> Tensor | float | None:
    if options.kernel not in WITH_BANDWIDTH or options.bandwidth is not None:
        return options.bandwidth
    return median_bandwidth(torch.cat(targets))


def _pair(
    target: Tensor, online: Tensor, options: LossOptions, bandwidth: Tensor | float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss, uniformity and alignment of one pair of unit-row matrices."""
    if options.kernel == "linear":
        return _LinearPair.apply(online - online.mean(0), target - target.mean(0), options)
    m = len(online)
    cross = doubly_centred(kernel_matrix(online, target, options.kernel, bandwidth, options.degree)) / m
    auto = doubly_centred(kernel_matrix(online, online, options.kernel, bandwidth, options.degree)) / m
    targets = doubly_centred(kernel_matrix(target, target, options.kernel, bandwidth, options.degree)) / m
    return _GramPair.apply(cross, auto, targets, online.shape[1], options)


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


class _GramPair(torch.autograd.Function):
    """Loss of one pair from doubly centred Gram matrices / m; gradients by the two that depend on `online`."""

    @staticmethod
    def forward(
        ctx: Any, cross: Tensor, auto: Tensor, targets: Tensor, width: int, o: LossOptions
    ) -> tuple[Tensor, Tensor, Tensor]:
        terms = _gram_terms(cross, auto, targets, targets.diagonal().sum(), width, o)
        loss, uniformity, alignment = _sums(terms)
        gradients = (_weighted(terms, "by_cross"), _weighted(terms, "by_auto"))
        ctx.save_for_backward(*(torch.zeros_like(cross) if g is None else g for g in gradients))
        ctx.mark_non_differentiable(uniformity, alignment)
        return loss, uniformity, alignment

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        by_cross, by_auto = ctx.saved_tensors
        return by_loss * by_cross, by_loss * by_auto, None, None, None


@torch.no_grad()
def _radii(
    pairs: list[tuple[Tensor, Tensor]], o: LossOptions, bandwidth: Tensor | float | None
) -> tuple[Tensor | None, Tensor | None]:
    """Return the spectral radii of Q - I of uniformity and alignment, the larger of the two pairs."""
    shift = o.mu - 1.0
    found: dict[str, list[Tensor]] = {"cross": [], "auto": []}
    for target, online in pairs:
        found["cross"].append(_radius(online, target, shift, o, bandwidth))
        found["auto"].append(_radius(online, online, shift, o, bandwidth))
    floor = abs(shift)  # of the directions in which the features do not vary
    radii = {name: torch.stack(values).max().clamp_min(floor) for name, values in found.items()}
    uniformity = radii["cross"] if o.uniformity == "mce" else None
    return uniformity, radii["auto"] if o.alignment == "mce" else None


def _radius(online: Tensor, other: Tensor, shift: float, o: LossOptions, bandwidth: Tensor | float | None) -> Tensor:
    """Return the spectral radius of C(other, online) + shift I, without forming C for the linear kernel."""
    m = len(online)
    if o.kernel == "linear":
        left, right = other - other.mean(0), online - online.mean(0)
        return spectral_radius(lambda v: left.mT @ (right @ v) / m + shift * v, left[0] + right[-1])
    matrix = doubly_centred(kernel_matrix(online, other, o.kernel, bandwidth, o.degree)) / m
    start = torch.linspace(-1.0, 1.0, m, dtype=matrix.dtype, device=matrix.device).cos()
    return spectral_radius(lambda v: matrix @ v + shift * v, start)
