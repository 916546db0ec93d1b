"""The options of the Kernel-SSL loss, and which combinations make no sense. Imports no torch, for the command line."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from benchmark.core.options import check_values, option
from benchmark.core.value_types import InvalidOption, NonNegativeFloat, PositiveFloat

LOGARITHMS = ("taylor", "exact")
UNIFORMITIES = ("mce", "none")
ALIGNMENTS = ("mce", "hsic", "trace", "none")
KERNELS = ("linear", "rbf", "laplace", "polynomial")
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
    logarithm: str = option("taylor", "matrix logarithm", group="Loss", choices=LOGARITHMS)
    uniformity: str = option("mce", "uniformity term", group="Loss", choices=UNIFORMITIES)
    alignment: str = option("mce", "alignment term", group="Loss", choices=ALIGNMENTS)
    trace_term: bool = option(False, "add the tr(Q) that the released code leaves out", group="Loss")
    hsic_weight: NonNegativeFloat = option(
        0.0, "weight of the HSIC addition (first released version: 0.003)", group="Loss"
    )
    kernel: str = option("linear", "kernel of the covariance operators", group="Loss", choices=KERNELS)
    bandwidth: PositiveFloat | None = option(None, "of rbf and laplace; default the median rule", group="Loss")
    degree: Order = option(2, "of the polynomial kernel", group="Loss")

    def __post_init__(self) -> None:
        check_options(self)


class Senseless(InvalidOption):
    """Options that make no sense together. The sentence speaks of the fields; a command line puts its flags in."""

    def __init__(self, sentence: str):
        """Take a sentence that begins with a flag and may name others."""
        flag, _, rest = sentence.partition(" ")
        super().__init__(flag.removeprefix("--").replace("-", "_"), rest)
        self.args = (re.sub(r"--([a-z-]+)", lambda flag: flag[1].replace("-", "_"), sentence),)


def check_options(options: LossOptions) -> None:
    """Raise ``InvalidOption``, a ``ValueError``, for an unknown value or a combination in which an option would do
    nothing or fail.
    """
    check_values(options)
    if problem := _senseless(options):
        raise Senseless(problem)


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
    if o.degree != LossOptions.degree and o.kernel != "polynomial":
        return f"--degree has no effect with --kernel {o.kernel}; it belongs to polynomial."
    return None
