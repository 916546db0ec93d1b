"""Intervals against scipy's own tests."""

import pytest
from scipy import stats

from benchmark.comparison.repeats import difference, summarise


def test_paired_interval_is_scipys():
    a, b = {0: 38.2, 1: 38.9, 2: 38.4}, {0: 37.0, 1: 37.9, 2: 37.5}
    found = difference(a, b)
    reference = stats.ttest_rel(list(a.values()), list(b.values())).confidence_interval(0.95)
    assert found.paired
    assert found.n == 3
    assert found.mean - found.half_width == pytest.approx(reference.low)
    assert found.mean + found.half_width == pytest.approx(reference.high)
    assert found.verdict == "better"


def test_unpaired_interval_is_welchs():
    a, b = {0: 38.2, 1: 38.9, 2: 38.4}, {5: 37.0, 6: 39.9}
    found = difference(a, b)
    reference = stats.ttest_ind(list(a.values()), list(b.values()), equal_var=False).confidence_interval(0.95)
    assert not found.paired
    assert found.mean - found.half_width == pytest.approx(reference.low)
    assert found.mean + found.half_width == pytest.approx(reference.high)
    assert found.verdict == "within noise"


def test_only_common_seeds_are_paired():
    found = difference({0: 1.0, 1: 2.0, 2: 100.0}, {0: 0.0, 1: 1.5})
    assert (found.n, found.mean) == (2, 0.75)


def test_worse_one_run_and_nothing():
    assert difference({0: 1.0, 1: 1.1}, {0: 2.0, 1: 2.1}).verdict == "worse"
    single = difference({0: 40.0}, {0: 38.0})
    assert (single.half_width, single.verdict) == (None, "one run: no interval")
    assert difference({}, {0: 1.0}) is None


def test_summary():
    found = summarise([1.0, 2.0, 4.0])
    assert (found.n, found.mean, found.sd) == (3, pytest.approx(7 / 3), pytest.approx(1.5275252))
    assert summarise([5.0]).sd is None
    assert summarise([]) is None
