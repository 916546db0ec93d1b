"""The options of the Kernel-SSL loss, and which combinations make no sense. Imports no torch, for the command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from benchmark.core.options import check_values, option
from benchmark.core.value_types import InvalidOption, NonNegativeFloat, PositiveFloat

Logarithm = Literal["taylor", "exact"]
Uniformity = Literal["mce", "none"]
Alignment = Literal["mce", "hsic", "trace", "none"]
Kernel = Literal["linear", "rbf", "laplace", "polynomial"]
WITH_BANDWIDTH = ("rbf", "laplace")
Order = Annotated[int, Field(ge=1, le=100)]  # beyond it the coefficients of the series leave the range of floats


@dataclass(frozen=True)
class LossOptions:
    """Everything that the loss depends on besides the features; defaults are the best published command's.

    Attributes:
        mu: regulariser added to the diagonal, > 0 (exact logarithm) or >= 0. The released code's own default is 0.5.
        lam: weight of the identity in the uniformity term, > 0. The released code's own default is 0.5.
        gamma: weight of alignment, >= 0. What it does to rank: docs/loss.md.
        taylor_order: K >= 1 of the Taylor logarithm.
        logarithm: ``taylor`` or ``exact``.
        uniformity: ``mce`` or ``none``.
        alignment: ``mce``, ``hsic`` (-|C(target, online)|_F^2), ``trace`` (-tr C(target, online)) or ``none``.
        trace_term: add the tr(Q) of the full matrix cross-entropy, which the released code leaves out.
        hsic_weight: weight of -tr(p p' J z z' J) / m^2 in every term (0.003 in the first released version).
        kernel: ``linear`` (the paper), ``rbf``, ``laplace`` or ``polynomial``.
        bandwidth: of rbf and laplace, a distance between unit rows; None: the median rule on the target rows.
        degree: of the polynomial kernel, >= 1.
    """

    mu: NonNegativeFloat = option(1.0, "regulariser of the matrix logarithm", group="Loss")
    lam: NonNegativeFloat = option(1.0, "weight of the identity in uniformity", group="Loss")
    gamma: NonNegativeFloat = option(1.0, "weight of alignment against uniformity (docs/loss.md)", group="Loss")
    taylor_order: Order = option(4, "order of the Taylor logarithm", group="Loss")
    logarithm: Logarithm = option("taylor", "matrix logarithm", group="Loss")
    uniformity: Uniformity = option("mce", "uniformity term", group="Loss")
    alignment: Alignment = option("mce", "alignment term", group="Loss")
    trace_term: bool = option(False, "add the tr(Q) that the released code leaves out", group="Loss")
    hsic_weight: NonNegativeFloat = option(
        0.0, "weight of the HSIC addition (first released version: 0.003)", group="Loss"
    )
    kernel: Kernel = option("linear", "kernel of the covariance operators", group="Loss")
    bandwidth: PositiveFloat | None = option(None, "of rbf and laplace; default the median rule", group="Loss")
    degree: Order = option(2, "of the polynomial kernel", group="Loss")

    def __post_init__(self) -> None:
        check_options(self)


def check_options(options: LossOptions) -> None:
    """Raise ``InvalidOption``, a ``ValueError``, for an unknown value or a combination in which an option would do
    nothing or fail.
    """
    check_values(options)
    problem = _no_loss(options) or _logarithm(options) or _kernel(options)
    if problem:
        raise problem


def _no_loss(o: LossOptions) -> InvalidOption | None:
    """Say which weights leave nothing to minimise, or weigh a term that is off."""
    if o.uniformity == "none" and o.alignment == "none":
        return _with("uniformity", "none with {alignment} none leaves no loss; keep one of them.")
    if o.uniformity == "none" and o.gamma == 0:
        return _with("uniformity", "none with {gamma} 0 leaves no loss; give a {gamma} above 0.")
    if o.lam == 0:
        return _with("lam", "0 switches uniformity off; say {uniformity} none instead.")
    if o.uniformity == "none" and o.lam != LossOptions.lam:
        return _with("lam", "has no effect with {uniformity} none; leave it out.")
    if o.alignment == "none" and o.gamma not in (0, LossOptions.gamma):
        return _with("gamma", "has no effect with {alignment} none; leave it out.")
    return None


def _logarithm(o: LossOptions) -> InvalidOption | None:
    """Say which settings of the matrix logarithm fail or have no effect."""
    uses_mce = o.uniformity == "mce" or o.alignment == "mce"
    if o.logarithm == "exact" and o.mu == 0:
        return _with("logarithm", "exact with {mu} 0 takes the logarithm of zero; give a {mu} above 0.")
    if o.logarithm == "exact" and o.taylor_order != LossOptions.taylor_order:
        return _with("taylor_order", "has no effect with {logarithm} exact; give only one of them.")
    if uses_mce:
        return None
    for name, value in (("mu", o.mu), ("taylor_order", o.taylor_order), ("logarithm", o.logarithm)):
        if value != getattr(LossOptions, name):
            return _with(name, "needs a term with a logarithm; use {uniformity} mce or {alignment} mce.")
    if o.trace_term:
        return _with("trace_term", "belongs to matrix cross-entropy; use {uniformity} mce or {alignment} mce.")
    return None


def _kernel(o: LossOptions) -> InvalidOption | None:
    """Say which settings of the kernel are out of range or have no effect."""
    if o.bandwidth is not None and o.kernel not in WITH_BANDWIDTH:
        owners = " and ".join(WITH_BANDWIDTH)
        return _with("bandwidth", f"has no effect with {{kernel}} {o.kernel}; it belongs to {owners}.")
    if o.degree != LossOptions.degree and o.kernel != "polynomial":
        return _with("degree", f"has no effect with {{kernel}} {o.kernel}; it belongs to polynomial.")
    return None


def _with(name: str, problem: str) -> InvalidOption:
    """Return the error of an option beside others of the loss, which `problem` names in braces."""
    return InvalidOption(name, problem, tuple(LossOptions.__dataclass_fields__))
