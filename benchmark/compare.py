"""Is the difference real? Repeats, Student intervals, and "within noise".

A single COCO run moves by 0.2 to 0.3 AP between repeats (moco#39, Mask2Former#46), so one number says little.
Pure functions on numbers; nothing here knows where they came from.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

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


def summarise(values: list[float]) -> Summary | None:
    """Return n, mean and sample standard deviation, or None for no values."""
    if not values:
        return None
    return Summary(len(values), statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


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
        width = _t(len(deltas) - 1) * statistics.stdev(deltas) / math.sqrt(len(deltas))
        return Difference(statistics.fmean(deltas), width, len(deltas), True)
    a, b = list(setting.values()), list(control.values())
    mean = statistics.fmean(a) - statistics.fmean(b)
    if min(len(a), len(b)) < 2:
        return Difference(mean, None, min(len(a), len(b)), False)
    return Difference(mean, _welch_half_width(a, b), min(len(a), len(b)), False)


def _welch_half_width(a: list[float], b: list[float]) -> float:
    variance_a, variance_b = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    total = variance_a + variance_b
    if total == 0:
        return 0.0
    freedom = total**2 / (variance_a**2 / (len(a) - 1) + variance_b**2 / (len(b) - 1))
    return _t(freedom) * math.sqrt(total)


def _t(freedom: float) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
