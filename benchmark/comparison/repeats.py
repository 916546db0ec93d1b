"""Is the difference real? Repeats, Student intervals, and "within noise".

A single COCO run moves by 0.2 to 0.3 AP between repeats (moco#39, Mask2Former#46), so one number says little.
Pure functions on numbers; nothing here knows where they came from.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Repeats of one setting: ``n`` values, their ``mean`` and sample standard deviation ``sd`` (None for n = 1)."""

    n: int
    mean: float
    sd: float | None


@dataclass(frozen=True)
class Difference:
    """Setting minus control: ``mean``, the half width of its 95 % interval (None without repeats), ``n`` and verdict.

    ``paired`` says whether runs of equal seeds were compared (then n counts pairs).
    """

    mean: float
    half_width: float | None
    n: int
    paired: bool

    @property
    def verdict(self) -> str:
        """``within noise``, ``better``, ``worse``, or ``one run: no interval``."""
        if self.half_width is None:
            return "one run: no interval"
        if abs(self.mean) <= self.half_width:
            return "within noise"
        return "better" if self.mean > 0 else "worse"


def summarise(values: Sequence[float]) -> Summary | None:
    """Return n, mean and sample standard deviation, or None for no values."""
    if not values:
        return None
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(len(values), float(np.mean(values)), sd)


def difference(setting: Mapping[int, float], control: Mapping[int, float]) -> Difference | None:
    """Compare two settings given as ``{seed: value}``; None when either is empty.

    With at least two seeds in common, the mean of the per-seed differences and Student's interval for it; otherwise
    Welch's interval for two independent means; with one run on a side there is no interval.
    """
    if not setting or not control:
        return None
    common = sorted(set(setting) & set(control))
    if len(common) >= 2:
        deltas = [setting[seed] - control[seed] for seed in common]
        width = _t(len(deltas) - 1) * float(np.std(deltas, ddof=1)) / math.sqrt(len(deltas))
        return Difference(float(np.mean(deltas)), width, len(deltas), True)
    a, b = list(setting.values()), list(control.values())
    mean = float(np.mean(a) - np.mean(b))
    if min(len(a), len(b)) < 2:
        return Difference(mean, None, min(len(a), len(b)), False)
    return Difference(mean, _welch_half_width(a, b), min(len(a), len(b)), False)


def _welch_half_width(a: list[float], b: list[float]) -> float:
    variance_a, variance_b = float(np.var(a, ddof=1)) / len(a), float(np.var(b, ddof=1)) / len(b)
    total = variance_a + variance_b
    if total == 0:
        return 0.0
    freedom = total**2 / (variance_a**2 / (len(a) - 1) + variance_b**2 / (len(b) - 1))
    return _t(freedom) * math.sqrt(total)


def _t(freedom: float) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
