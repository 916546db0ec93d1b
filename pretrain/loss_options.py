"""The options of the Kernel-SSL loss, and which combinations make no sense. Imports no torch, for the command line."""

import math
from dataclasses import dataclass

from benchmark.core.errors import UserError, check_choice

LOGARITHMS = ("taylor", "exact")
UNIFORMITIES = ("mce", "none")
ALIGNMENTS = ("mce", "hsic", "trace", "none")
KERNELS = ("linear", "rbf", "laplace", "polynomial")
WITH_BANDWIDTH = ("rbf", "laplace")


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

    mu: float = 1.0
    lam: float = 1.0
    gamma: float = 1.0
    taylor_order: int = 4
    logarithm: str = "taylor"
    uniformity: str = "mce"
    alignment: str = "mce"
    trace_term: bool = False
    hsic_weight: float = 0.0
    kernel: str = "linear"
    bandwidth: float | None = None
    degree: int = 2

    def __post_init__(self) -> None:
        check_options(self)


def check_options(options: LossOptions) -> None:
    """Raise ``UserError`` for an unknown value or a combination in which an option would do nothing or fail."""
    check_choice("--logarithm", options.logarithm, LOGARITHMS)
    check_choice("--uniformity", options.uniformity, UNIFORMITIES)
    check_choice("--alignment", options.alignment, ALIGNMENTS)
    check_choice("--kernel", options.kernel, KERNELS)
    for name in ("mu", "lam", "gamma", "hsic_weight"):
        if not (math.isfinite(getattr(options, name)) and getattr(options, name) >= 0):
            raise UserError(f"--{name.replace('_', '-')} is {getattr(options, name)}; it must be a number >= 0.")
    problem = _senseless(options)
    if problem:
        raise UserError(problem)


def _senseless(o: LossOptions) -> str | None:
    return _no_loss(o) or _logarithm(o) or _kernel(o)


def _no_loss(o: LossOptions) -> str | None:
    """Say which weights leave nothing to minimise, or weigh a term that is off."""
    if o.uniformity == "none" and o.alignment == "none":
        return "--uniformity none with --alignment none leaves no loss; keep one of them."
    if o.uniformity == "none" and o.gamma == 0:
        return "--uniformity none with --gamma 0 leaves no loss; give a --gamma above 0."
    if o.lam == 0:
        return "--lam 0 switches uniformity off; say --uniformity none instead."
    if o.uniformity == "none" and o.lam != LossOptions.lam:
        return "--lam has no effect with --uniformity none; leave it out."
    if o.alignment == "none" and o.gamma not in (0, LossOptions.gamma):
        return "--gamma has no effect with --alignment none; leave it out."
    return None


def _logarithm(o: LossOptions) -> str | None:
    """Say which settings of the matrix logarithm fail or have no effect."""
    uses_mce = o.uniformity == "mce" or o.alignment == "mce"
    if o.taylor_order < 1:
        return f"--taylor-order is {o.taylor_order}; the series begins at order 1."
    if o.logarithm == "exact" and o.mu == 0:
        return "--logarithm exact with --mu 0 takes the logarithm of zero; give a --mu above 0."
    if o.logarithm == "exact" and o.taylor_order != LossOptions.taylor_order:
        return "--taylor-order has no effect with --logarithm exact; give only one of them."
    if uses_mce:
        return None
    for name, value in (("mu", o.mu), ("taylor_order", o.taylor_order), ("logarithm", o.logarithm)):
        if value != getattr(LossOptions, name):
            flag = name.replace("_", "-")
            return f"--{flag} needs a term with a logarithm; use --uniformity mce or --alignment mce."
    if o.trace_term:
        return "--trace-term belongs to matrix cross-entropy; use --uniformity mce or --alignment mce."
    return None


def _kernel(o: LossOptions) -> str | None:
    """Say which settings of the kernel are out of range or have no effect."""
    if o.bandwidth is not None and o.kernel not in WITH_BANDWIDTH:
        return f"--bandwidth has no effect with --kernel {o.kernel}; it belongs to {' and '.join(WITH_BANDWIDTH)}."
    if o.bandwidth is not None and not (math.isfinite(o.bandwidth) and o.bandwidth > 0):
        return f"--bandwidth is {o.bandwidth}; it must be above 0."
    if o.degree < 1:
        return f"--degree is {o.degree}; it must be 1 or more."
    if o.degree != LossOptions.degree and o.kernel != "polynomial":
        return f"--degree has no effect with --kernel {o.kernel}; it belongs to polynomial."
    return None
