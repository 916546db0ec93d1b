"""Is the difference real? Repeats of two levels, their intervals, and what may be said of a difference.

A single COCO run moves by 0.2 to 0.3 AP between repeats (moco#39, Mask2Former#46), so one number says little. Two
things vary between repeats: the pre-training (its seed gives another checkpoint) and the fine-tuning of one checkpoint.
Repeats of one checkpoint say nothing about the first, so every interval says what it covers. Pure functions on numbers.

The nested model: a run is mean + checkpoint + fine-tuning, both normal. With at least two checkpoints the means of the
checkpoints are the units and Student's interval on them covers both variances (Searle, Casella & McCulloch, Variance
Components, section 3.6); with one checkpoint the runs are the units.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmark.comparison.inference import ALPHA, equivalence_p, half_width, p_value, runs_needed, superiority

MARGIN = 0.3  # AP: "within a reasonable range of random variation" (K. He, moco#39)
FINE_TUNING = "fine-tuning seeds, about this checkpoint"
BOTH = "pre-training and fine-tuning seeds"
FINE_TUNING_OF_BOTH = "fine-tuning seeds, about these checkpoints"


Level = tuple[bool, int | None]  # of units, see Units.level


class Repeat(NamedTuple):
    """One run's value of one metric.

    ``source`` tells checkpoints apart (a hash of the weights; None: not known, taken for one and the same);
    ``pretrain_seed`` is that of the pre-training, None where it is not known. ``drawn``: the weights were never trained
    but drawn by the seed, so that every run has its own.
    """

    seed: int | None
    value: float
    record: str
    source: str | None = None
    pretrain_seed: int | None = None
    drawn: bool = False


@dataclass(frozen=True)
class Pool:
    """A standard deviation shared by the rows of a table: ``sd``, its degrees of ``freedom``, of how many ``rows``.

    ``p`` is that of Bartlett's test that the rows have one variance (the pool is not used below 0.05).
    """

    sd: float
    freedom: int
    rows: int
    p: float


@dataclass(frozen=True)
class Units:
    """What an interval rests on: independent values, and where they come from.

    ``covers`` is ``BOTH`` where the values are means of checkpoints, otherwise ``FINE_TUNING``. ``size`` is the number
    of runs in each value (None where they differ); ``trained`` is False for weights that were drawn, not trained.
    """

    values: tuple[float, ...]
    seeds: tuple[int | None, ...]
    covers: str
    size: int | None
    trained: bool = True

    @property
    def level(self) -> Level:
        """Units of equal level may be expected to have one variance: whether pre-training varies, and the size."""
        return (self.covers == BOTH and self.trained, self.size)


@dataclass(frozen=True)
class Summary:
    """Repeats of one setting.

    Attributes:
        n: runs.
        mean: of all runs where there is one checkpoint, otherwise of the checkpoints' means.
        sd: sample standard deviation of all runs, None for one run.
        checkpoints: different checkpoints among the runs.
        covers: what the intervals cover, ``BOTH`` or ``FINE_TUNING``; empty for one run.
        half_width: half of the 95 % interval from this row's own runs, None for one run.
        pooled_half_width: the same from the sd pooled over the rows of the table, None where there is no pool.
        sd_fine_tuning: between runs of one checkpoint, None where no checkpoint has two runs.
        sd_pretraining: between checkpoints, without what fine-tuning adds; None where nothing tells it.
    """

    n: int
    mean: float
    sd: float | None
    checkpoints: int = 1
    covers: str = ""
    half_width: float | None = None
    pooled_half_width: float | None = None
    sd_fine_tuning: float | None = None
    sd_pretraining: float | None = None


@dataclass(frozen=True)
class Difference:
    """A setting minus its reference.

    Attributes:
        mean: difference of the means.
        half_width: half of the 95 % interval that the verdict rests on: the pooled one where there is one, otherwise
            this comparison's own; None without repeats.
        n: pairs, or the smaller number of units a side.
        paired: whether units of equal seeds were compared.
        covers: what the interval covers.
        own_half_width, pooled_half_width: both intervals; None where there is none.
        p: two-sided p-value of the verdict's test; p_holm: corrected for all comparisons of the table.
        comparisons: how many there are.
        margin: AP within which two settings count as equivalent; p_equivalence: of that claim (two one-sided tests).
        superiority: P(setting > reference) for one further run of each, with its 95 % interval.
        runs_for_margin: runs a side that would see a difference of the margin with 80 % power.
        runs_for_difference: runs a side that would see the observed difference.
    """

    mean: float
    half_width: float | None
    n: int
    paired: bool
    covers: str = ""
    own_half_width: float | None = None
    pooled_half_width: float | None = None
    p: float | None = None
    p_holm: float | None = None
    comparisons: int = 1
    margin: float = MARGIN
    p_equivalence: float | None = None
    superiority: tuple[float, float, float] | None = None
    runs_for_margin: int | None = None
    runs_for_difference: int | None = None

    @property
    def verdict(self) -> str:
        """``within noise``, ``better``, ``worse``, ``one run: no interval``, or the middle of two of them."""
        if self.half_width is None:
            return "one run: no interval"
        if abs(self.mean) <= self.half_width:
            return "within noise"
        word = "better" if self.mean > 0 else "worse"
        if self.p_holm is not None and self.p_holm > ALPHA:
            return f"{word}, but not when corrected for {self.comparisons} comparisons"
        return word

    @property
    def equivalent(self) -> bool:
        """Whether the data say that the difference lies within the margin, which a wide interval never does."""
        return self.p_equivalence is not None and self.p_equivalence < ALPHA

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the verdict, (low, high)."""
        return None if self.half_width is None else (self.mean - self.half_width, self.mean + self.half_width)


def _by_source(repeats: Sequence[Repeat]) -> dict[str | None, list[Repeat]]:
    groups: dict[str | None, list[Repeat]] = defaultdict(list)
    for repeat in repeats:
        groups[repeat.source].append(repeat)
    return groups


def runs_of(repeats: Sequence[Repeat]) -> Units:
    """Return every run as a unit of its own."""
    return Units(tuple(r.value for r in repeats), tuple(r.seed for r in repeats), FINE_TUNING, 1)


def units_of(repeats: Sequence[Repeat]) -> Units:
    """Return the units of one setting: the means of its checkpoints where there are several, otherwise its runs."""
    groups = list(_by_source(repeats).values())
    if len(groups) < 2:
        return runs_of(repeats)
    sizes = {len(group) for group in groups}
    values = tuple(float(np.mean([repeat.value for repeat in group])) for group in groups)
    seeds = tuple(group[0].pretrain_seed for group in groups)
    return Units(values, seeds, BOTH, sizes.pop() if len(sizes) == 1 else None, not all(r.drawn for r in repeats))


def pool(samples: Sequence[Units]) -> Pool | None:
    """Return the sd that several settings share, or None where a test objects or there are not two settings.

    Bartlett's test is the right one for normal values; at 5 % it objects where the variances clearly differ.
    """
    values = [units.values for units in samples if len(units.values) > 1]
    if len(values) < 2 or len({units.level for units in samples if len(units.values) > 1}) > 1:
        return None
    variances = [float(np.var(sample, ddof=1)) for sample in values]
    freedom = sum(len(sample) - 1 for sample in values)
    pooled = sum(v * (len(s) - 1) for v, s in zip(variances, values, strict=True)) / freedom
    if min(variances) == 0:
        return None  # equal to the last digit: these are no independent repeats
    p = float(stats.bartlett(*values).pvalue)
    return Pool(math.sqrt(pooled), freedom, len(values), p) if p >= ALPHA else None


def summarise(repeats: Sequence[Repeat], pooled: Pool | None = None) -> Summary | None:
    """Return what the repeats of one setting say together, or None for no repeats."""
    if not repeats:
        return None
    units, groups = units_of(repeats), _by_source(repeats)
    values = [repeat.value for repeat in repeats]
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    found = Summary(len(values), float(np.mean(units.values)), sd, len(groups))
    count = len(units.values)
    if count < 2:
        return found
    spread = float(np.std(units.values, ddof=1))
    fine_tuning, pretraining = _components(list(groups.values()), units)
    return replace(
        found,
        covers=units.covers,
        half_width=half_width(spread / math.sqrt(count), count - 1),
        pooled_half_width=half_width(pooled.sd / math.sqrt(count), pooled.freedom) if pooled else None,
        sd_fine_tuning=fine_tuning,
        sd_pretraining=pretraining,
    )


def _components(groups: Sequence[Sequence[Repeat]], units: Units) -> tuple[float | None, float | None]:
    """Return the sds of fine-tuning (within checkpoints) and of pre-training (between them, less the former)."""
    within = [np.var([r.value for r in group], ddof=1) * (len(group) - 1) for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    if not within:
        return None, None
    variance = float(sum(within)) / freedom
    if len(groups) < 2:
        return math.sqrt(variance), None
    added = variance * float(np.mean([1 / len(group) for group in groups]))
    between = float(np.var(units.values, ddof=1)) - added
    return math.sqrt(variance), math.sqrt(max(between, 0.0))


def compare(
    setting: Sequence[Repeat],
    reference: Sequence[Repeat],
    pools: Mapping[Level, Pool] | None = None,
    margin: float = MARGIN,
) -> Difference | None:
    """Compare two settings; None when either has no runs.

    Where both have several checkpoints these are compared, paired by the seed of the pre-training if at least two are
    in common; otherwise the runs, paired by the seed of the fine-tuning if at least two are in common; otherwise by
    Welch's interval for two independent means. `pools` are the sds that the rows of the table share, by level.
    """
    if not setting or not reference:
        return None
    a, b = units_of(setting), units_of(reference)
    if a.covers == b.covers == BOTH:
        paired, covers = _pairs(a, b), BOTH
    else:
        paired, covers = _pairs(runs_of(setting), runs_of(reference)), FINE_TUNING_OF_BOTH
    mean = float(np.mean(paired)) if paired else float(np.mean(a.values) - np.mean(b.values))
    count = len(paired) if paired else min(len(a.values), len(b.values))
    if count < 2:
        return Difference(mean, None, count, False, margin=margin)
    error, freedom, effect, scale = _paired(paired) if paired else _welch(a.values, b.values)
    own = half_width(error, freedom)
    shared = _pooled(a, b, pools or {})
    if shared:
        error, freedom, sd = shared
        effect = mean / (sd * math.sqrt(2))
        scale = sd * math.sqrt(2) / error
    width = half_width(error, freedom)
    sd_of_runs = error / math.sqrt(2 / count)  # of a difference of means of `count` independent runs
    return Difference(
        mean,
        width,
        count,
        bool(paired),
        covers,
        own,
        width if shared else None,
        p=p_value(mean, error, freedom),
        margin=margin,
        p_equivalence=equivalence_p(mean, error, freedom, margin),
        superiority=superiority(effect, scale, freedom) if error else None,
        runs_for_margin=runs_needed(round(sd_of_runs, 6), margin),
        runs_for_difference=runs_needed(round(sd_of_runs, 6), round(mean, 6)),
    )


def _pairs(a: Units, b: Units) -> list[float]:
    """Return the differences of equal seeds where at least two seeds are in common, otherwise nothing."""
    of_a, of_b = _by_seed(a), _by_seed(b)
    common = [seed for seed in of_a if seed in of_b]
    return [of_a[seed] - of_b[seed] for seed in common] if len(common) >= 2 else []


def _by_seed(units: Units) -> dict[int, float]:
    """Return the mean value of each seed; units of unknown seeds are left out."""
    found: dict[int, list[float]] = defaultdict(list)
    for seed, value in zip(units.seeds, units.values, strict=True):
        if seed is not None:
            found[seed].append(value)
    return {seed: float(np.mean(values)) for seed, values in found.items()}


def _paired(deltas: Sequence[float]) -> tuple[float, float, float, float]:
    """Return standard error, degrees of freedom, effect and scale of paired differences (see ``superiority``)."""
    sd, n = float(np.std(deltas, ddof=1)), len(deltas)
    effect = float(np.mean(deltas)) / sd if sd else 0.0
    return sd / math.sqrt(n), n - 1, effect, math.sqrt(n)


def _welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float, float]:
    """The same for two independent means of unequal variances, with scipy's degrees of freedom."""
    variance_a, variance_b = float(np.var(a, ddof=1)), float(np.var(b, ddof=1))
    error = math.sqrt(variance_a / len(a) + variance_b / len(b))
    if error == 0:
        return 0.0, len(a) + len(b) - 2, 0.0, 1.0
    freedom = float(stats.ttest_ind(a, b, equal_var=False).df)
    single = math.sqrt(variance_a + variance_b)
    return error, freedom, float(np.mean(a) - np.mean(b)) / single, single / error


def _pooled(a: Units, b: Units, pools: Mapping[Level, Pool]) -> tuple[float, float, float] | None:
    """Return standard error, degrees of freedom and sd of a single unit from the pools of both sides' levels."""
    first, second = pools.get(a.level), pools.get(b.level)
    if first is None or second is None or min(len(a.values), len(b.values)) < 2:
        return None
    parts = (first.sd**2 / len(a.values), second.sd**2 / len(b.values))
    error = math.sqrt(sum(parts))
    if a.level == b.level:
        return error, first.freedom, first.sd
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / first.freedom + parts[1] ** 2 / second.freedom)
    return error, freedom, math.sqrt((first.sd**2 + second.sd**2) / 2)
