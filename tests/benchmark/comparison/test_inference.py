"""Student's arithmetic against published tables, other tests of scipy, and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmark.comparison.inference import (
    detectable,
    equivalence_p,
    half_width,
    holm,
    p_value,
    power,
    runs_needed,
    superiority,
)


@pytest.mark.parametrize(("effect", "runs"), [(0.2, 394), (0.5, 64), (0.8, 26), (1.0, 17), (1.2, 12)])
def test_runs_needed_are_those_of_cohens_tables(effect, runs):
    """Cohen 1988, table 2.4.1 (two-sided 5 %, power 0.8): per group, from his exact tables as G*Power gives them."""
    assert runs_needed(1.0, effect) == runs
    assert runs_needed(0.15, 0.15 * effect) == runs  # only the ratio counts


def test_what_cannot_be_seen_needs_no_number():
    assert runs_needed(0.3, 0.0) is None
    assert runs_needed(1.0, 0.001) is None


def test_detectable_differences_are_seen_with_the_stated_power():
    for runs in (2, 3, 5, 9):
        smallest = detectable(0.2, runs)
        assert power(smallest, 0.2, runs) == pytest.approx(0.8, abs=1e-3)
    assert detectable(0.2, 1) is None
    assert detectable(0.2, 1, 20) > detectable(0.2, 2, 20)  # an sd that other rows lend
    assert detectable(0.2, 3, 20) < detectable(0.2, 3)


def test_power_equals_a_simulation():
    draw = np.random.default_rng(0)
    a, b = draw.normal(0.4, 0.25, (20_000, 4)), draw.normal(0, 0.25, (20_000, 4))
    seen = (stats.ttest_ind(a, b, axis=1).pvalue < 0.05).mean()
    assert power(0.4, 0.25, 4) == pytest.approx(seen, abs=0.01)


def test_interval_and_p_value_are_scipys():
    values = [0.3, 0.5, -0.1, 0.4]
    error = np.std(values, ddof=1) / 2
    reference = stats.ttest_1samp(values, 0)
    assert p_value(float(np.mean(values)), error, 3) == pytest.approx(reference.pvalue)
    low, high = reference.confidence_interval(0.95)
    assert half_width(error, 3) == pytest.approx((high - low) / 2)
    assert (half_width(0, 3), p_value(0.0, 0, 3), p_value(1.0, 0, 3)) == (0, 1, 0)


def test_equivalence_is_the_larger_of_two_one_sided_tests_and_the_90_percent_interval():
    values = [0.05, -0.1, 0.12, 0.02, -0.04]
    error = np.std(values, ddof=1) / math.sqrt(5)
    for margin in (0.05, 0.1, 0.2):
        reference = max(
            stats.ttest_1samp(values, -margin, alternative="greater").pvalue,
            stats.ttest_1samp(values, margin, alternative="less").pvalue,
        )
        found = equivalence_p(float(np.mean(values)), error, 4, margin)
        assert found == pytest.approx(reference)
        low, high = stats.ttest_1samp(values, 0).confidence_interval(0.90)
        assert (found < 0.05) == (-margin < low and high < margin)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("effect", "n"), [(0.0, 3), (1.0, 3), (2.5, 4), (-0.7, 6)])
def test_the_interval_of_superiority_covers_the_truth_19_times_in_20(effect, n):
    draw = np.random.default_rng(1)
    truth = stats.norm.cdf(effect)  # P(a pair's difference > 0), for differences of mean `effect` and sd 1
    hits = 0
    for values in draw.normal(effect, 1, (400, n)):
        _, low, high = superiority(values.mean() / values.std(ddof=1), math.sqrt(n), n - 1)
        hits += low <= truth <= high
    assert hits / 400 == pytest.approx(0.95, abs=0.03)


def test_superiority_of_settings_that_are_far_apart_stays_a_number():
    point, low, high = superiority(48.0, math.sqrt(2), 1)  # two pairs, t of 68
    assert point == pytest.approx(1.0)
    assert 0.8 < low < 1.0
    assert high == pytest.approx(1.0)
    assert superiority(0.0, math.sqrt(3), 2)[0] == 0.5
