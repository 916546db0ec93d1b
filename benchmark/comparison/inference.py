"""Student's arithmetic that several questions share: intervals, power, superiority, equivalence, many comparisons.

Pure functions on numbers, standing on ``scipy.stats``; nothing here knows where the numbers came from. All tests are
two-sided at 5 % and all intervals 95 % unless said otherwise.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import optimize, special, stats

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
POWER = 0.8  # of a planned comparison: the chance that it sees a difference that is there
MOST_RUNS = 1000


def half_width(standard_error: float, freedom: float) -> float:
    """Return half the width of Student's 95 % interval for a mean with this standard error."""
    return _quantile(freedom) * standard_error


@lru_cache(maxsize=4096)
def _quantile(freedom: float) -> float:
    """Return Student's t beyond which 2.5 % lie; a table of 10,000 records asks for few degrees of freedom often."""
    return float(stats.t.interval(CONFIDENCE, freedom)[1])


def p_value(mean: float, standard_error: float, freedom: float) -> float:
    """Return the two-sided p-value of Student's test that the true mean is 0."""
    if standard_error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / standard_error, freedom))


def equivalence_p(mean: float, standard_error: float, freedom: float, margin: float) -> float:
    """Return the p-value of "the true difference lies within ± margin": two one-sided tests (Schuirmann 1987).

    It is the larger of the two; below 0.05 the 90 % interval lies within the margin.
    """
    if standard_error == 0:
        return 0.0 if abs(mean) < margin else 1.0
    upper = stats.t.sf((mean + margin) / standard_error, freedom)
    lower = stats.t.cdf((mean - margin) / standard_error, freedom)
    return float(max(upper, lower))


def superiority(effect: float, scale: float, freedom: float) -> tuple[float, float, float]:
    """Return P(A > B) for one further run of each side, with its 95 % interval, where runs are normal.

    Bouthillier et al. 2021 (arXiv 2103.03098) propose P(A > B) as what a comparison should report. With the few runs
    of detection a count of wins says little, so this inverts Student's noncentral t, which is exact for normal runs of
    one standard deviation.

    Args:
        effect: mean difference divided by the sd of the difference of two single runs (sqrt(2) sd for independent
            runs, the sd of the differences for pairs).
        scale: factor by which t exceeds the effect: sqrt of the number of pairs, sqrt(2 / (1 / n_a + 1 / n_b)).
        freedom: degrees of freedom of the sd.
    """
    t = effect * scale
    return (
        float(stats.norm.cdf(effect)),
        *(_noncentral(t, scale, freedom, tail) for tail in (1 - ALPHA / 2, ALPHA / 2)),
    )


def _noncentral(t: float, scale: float, freedom: float, tail: float) -> float:
    """Return P(A > B) at the noncentrality for which a t as small as this one has probability `tail`.

    The distribution is Student's noncentral t as a mean over the sd's own distribution; ``scipy.stats.nct`` gives NaN
    for the large t that few runs of very different settings have.
    """
    ratios = _sd_ratios(round(freedom, 2))

    def gap(centre: float) -> float:
        return float(np.mean(special.ndtr(t * ratios - centre))) - tail

    reach = abs(t) * float(ratios[-1]) + 10
    return float(stats.norm.cdf(optimize.brentq(gap, -reach, reach, xtol=1e-6) / scale))


@lru_cache(maxsize=256)
def _sd_ratios(freedom: float) -> np.ndarray:
    """Return 1,000 equally probable values of a sample sd divided by the true one."""
    return np.sqrt(stats.chi2.ppf((np.arange(1000) + 0.5) / 1000, freedom) / freedom)


def power(difference: float, sd: float, runs: int, freedom: float | None = None) -> float:
    """Return the chance to see a true difference between two settings of `runs` independent runs each.

    Args:
        difference: true difference of the means; sd: of single runs.
        freedom: degrees of freedom of the sd; by default those of the two settings themselves, 2 (runs - 1).
    """
    freedom = 2 * (runs - 1) if freedom is None else freedom
    if freedom < 1:
        return 0.0
    if sd == 0:
        return 1.0 if difference else 0.0
    centre = abs(difference) / (sd * math.sqrt(2 / runs))
    critical = stats.t.ppf(1 - ALPHA / 2, freedom)
    found = float(stats.nct.sf(critical, freedom, centre) + stats.nct.cdf(-critical, freedom, centre))
    return 1.0 if math.isnan(found) and centre > critical else found


@lru_cache(maxsize=4096)
def detectable(sd: float, runs: int, freedom: float | None = None) -> float | None:
    """Return the smallest difference that `runs` runs a side see with 80 % power; None for one run a side."""
    if (2 * (runs - 1) if freedom is None else freedom) < 1:
        return None
    if sd == 0:
        return 0.0
    largest = 200 * sd
    return float(
        optimize.brentq(lambda difference: power(difference, sd, runs, freedom) - POWER, 0, largest, xtol=1e-4)
    )


@lru_cache(maxsize=4096)
def runs_needed(sd: float, difference: float) -> int | None:
    """Return the runs a side that see a difference with 80 % power; None where more than 1,000 would be needed.

    The variance is taken as unknown (Student), so that few runs need one more than the usual normal formula says.
    """
    if difference == 0 or power(difference, sd, MOST_RUNS) < POWER:
        return None
    low, high = 1, MOST_RUNS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(difference, sd, middle) >= POWER else (middle, high)
    return high


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's rule (1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
