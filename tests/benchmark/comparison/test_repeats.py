"""Repeats of two levels: against scipy's tests, the analysis of variance written out, and simulation."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from benchmark.comparison.repeats import (
    BOTH,
    FINE_TUNING,
    FINE_TUNING_OF_BOTH,
    Pool,
    Repeat,
    Units,
    compare,
    pool,
    runs_of,
    summarise,
    units_of,
)


def runs(values, source="one", first_seed=0, pretrain_seed=None):
    return [Repeat(first_seed + n, value, f"{source}-{n}", source, pretrain_seed) for n, value in enumerate(values)]


def difference(setting, reference):
    """Compare two settings given as {seed: value}, each about one checkpoint."""
    return compare(*([Repeat(seed, value, "") for seed, value in side.items()] for side in (setting, reference)))


def test_paired_interval_is_scipys():
    a, b = {0: 38.2, 1: 38.9, 2: 38.4}, {0: 37.0, 1: 37.9, 2: 37.5}
    found = difference(a, b)
    reference = stats.ttest_rel(list(a.values()), list(b.values()))
    assert found.paired
    assert found.n == 3
    assert found.interval == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert found.p == pytest.approx(reference.pvalue)
    assert found.verdict == "better"


def test_unpaired_interval_is_welchs():
    a, b = {0: 38.2, 1: 38.9, 2: 38.4}, {5: 37.0, 6: 39.9}
    found = difference(a, b)
    reference = stats.ttest_ind(list(a.values()), list(b.values()), equal_var=False)
    assert not found.paired
    assert found.interval == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert found.p == pytest.approx(reference.pvalue)
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
    found = summarise(runs([1.0, 2.0, 4.0]))
    assert (found.n, found.mean, found.sd) == (3, pytest.approx(7 / 3), pytest.approx(1.5275252))
    low, high = stats.ttest_1samp([1.0, 2.0, 4.0], 0).confidence_interval(0.95)
    assert found.half_width == pytest.approx((high - low) / 2)
    assert (found.checkpoints, found.covers, found.sd_fine_tuning) == (1, FINE_TUNING, found.sd)
    assert found.sd_pretraining is None
    assert summarise(runs([5.0])).sd is None
    assert summarise(runs([5.0])).covers == ""
    assert (summarise(runs([5.0])).n, summarise(runs([5.0])).checkpoints) == (1, 1)
    assert summarise([]) is None


NESTED = {"a": [38.0, 38.4, 38.1], "b": [38.9, 39.1, 38.8], "c": [38.5, 38.3, 38.6]}


def nested(groups=NESTED):
    return [repeat for seed, (source, values) in enumerate(groups.items()) for repeat in runs(values, source, 0, seed)]


def test_the_nested_interval_is_that_of_the_analysis_of_variance():
    """One-way random effects, balanced: var(mean) = MS(between) / (k n), with k - 1 degrees of freedom."""
    table = np.array(list(NESTED.values()))
    k, n = table.shape
    between = n * ((table.mean(1) - table.mean()) ** 2).sum() / (k - 1)
    within = ((table - table.mean(1, keepdims=True)) ** 2).sum() / (k * (n - 1))
    found = summarise(nested())
    assert (found.n, found.checkpoints, found.covers) == (9, 3, BOTH)
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, k - 1) * math.sqrt(between / (k * n)))
    assert found.sd_fine_tuning == pytest.approx(math.sqrt(within))
    assert found.sd_pretraining == pytest.approx(math.sqrt((between - within) / n))
    assert found.mean == pytest.approx(table.mean())


def test_the_nested_interval_covers_the_truth_and_the_runs_alone_do_not():
    draw = np.random.default_rng(0)
    hits = naive = 0
    for _ in range(1000):
        checkpoints = 38 + draw.normal(0, 0.4, (3, 1))
        values = checkpoints + draw.normal(0, 0.2, (3, 3))
        repeats = nested(dict(zip("abc", values.tolist(), strict=True)))
        found = summarise(repeats)
        hits += abs(found.mean - 38) <= found.half_width
        flat = summarise([repeat._replace(source="one") for repeat in repeats])
        naive += abs(flat.mean - 38) <= flat.half_width
    assert hits / 1000 == pytest.approx(0.95, abs=0.02)
    assert naive / 1000 < 0.85


def test_one_checkpoint_is_about_this_checkpoint():
    found = compare(runs([38.2, 38.9, 38.4]), runs([37.0, 37.9, 37.5], "two"))
    assert (found.covers, found.paired, found.n) == (FINE_TUNING_OF_BOTH, True, 3)


def test_several_checkpoints_on_both_sides_are_compared_as_checkpoints():
    other = nested({name: [value - 1 for value in values] for name, values in NESTED.items()})
    found = compare(nested(), other)
    assert (found.covers, found.paired, found.n) == (BOTH, True, 3)
    strangers = [repeat._replace(pretrain_seed=None) for repeat in other]
    found = compare(nested(), strangers)
    means = np.array(list(NESTED.values())).mean(1)
    reference = stats.ttest_ind(means, means - 1, equal_var=False).confidence_interval(0.95)
    assert (found.paired, found.n) == (False, 3)
    assert found.interval == pytest.approx(tuple(reference))


def test_two_rows_pooled_are_students_test_with_equal_variances():
    a, b = runs([38.2, 38.9, 38.4]), runs([37.0, 37.9, 37.5], "two", first_seed=10)
    shared = pool([units_of(a), units_of(b)])
    found = compare(a, b, {units_of(a).level: shared})
    values = [[repeat.value for repeat in side] for side in (a, b)]
    reference = stats.ttest_ind(*values)
    assert found.interval == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert found.p == pytest.approx(reference.pvalue)
    assert found.pooled_half_width == found.half_width
    own = stats.ttest_ind(*values, equal_var=False).confidence_interval(0.95)
    assert found.own_half_width == pytest.approx((own.high - own.low) / 2)


def test_pools_of_two_levels_are_welchs_test_of_their_sds():
    """Three checkpoints against two runs: with n - 1 degrees of freedom a pool, scipy's test from statistics."""
    a, b = nested(), runs([36.0, 36.5], "two", first_seed=10)
    pools = {units_of(a).level: Pool(0.4, 2, 2, 0.5), units_of(b).level: Pool(0.2, 1, 2, 0.5)}
    assert len(pools) == 2
    means = [np.mean(units_of(side).values) for side in (a, b)]
    found = compare(a, b, pools)
    reference = stats.ttest_ind_from_stats(means[0], 0.4, 3, means[1], 0.2, 2, equal_var=False)
    assert found.p == pytest.approx(reference.pvalue)
    assert found.pooled_half_width == found.half_width


def test_pooling_halves_the_interval_of_three_seeds():
    draw = np.random.default_rng(4)
    rows = [runs(draw.normal(38 + n, 0.2, 3).tolist(), f"s{n}") for n in range(6)]
    shared = pool([units_of(row) for row in rows])
    assert (shared.rows, shared.freedom) == (6, 12)
    variances = [np.var([repeat.value for repeat in row], ddof=1) for row in rows]
    assert shared.sd == pytest.approx(math.sqrt(np.mean(variances)))
    found = summarise(rows[0], shared)
    expected = stats.t.ppf(0.975, 12) * shared.sd / math.sqrt(3)
    assert found.pooled_half_width == pytest.approx(expected)
    assert stats.t.ppf(0.975, 12) / stats.t.ppf(0.975, 2) < 0.51


def test_pooling_stops_where_a_test_objects_or_units_differ():
    quiet, loud = runs([38.0, 38.01, 38.02, 38.0]), runs([30.0, 34.0, 38.0, 41.0], "two")
    assert stats.bartlett([38.0, 38.01, 38.02, 38.0], [30.0, 34.0, 38.0, 41.0]).pvalue < 0.05
    assert pool([units_of(quiet), units_of(loud)]) is None
    assert pool([units_of(quiet)]) is None
    assert pool([units_of(quiet), units_of(nested())]) is None  # single runs and means of three
    assert pool([units_of(runs([1.0, 1.0])), units_of(runs([2.0, 2.1], "two"))]) is None


def test_a_setting_of_one_value_takes_no_part_in_the_pool():
    """It has no sd, whatever it is a mean of; the two others pool as if it were not there."""
    others = [units_of(runs([38.2, 38.9, 38.4])), units_of(runs([37.0, 37.9, 37.5], "two", first_seed=10))]
    alone = Units((38.0,), (0,), BOTH, 3)
    assert alone.level != others[0].level
    assert pool([*others, alone]) == pool(others) is not None


def test_weights_that_are_drawn_by_the_seed_pool_with_single_runs():
    drawn = [Repeat(n, v, f"r{n}", f"random {n}", n, True) for n, v in enumerate([26.0, 26.3, 26.1])]
    assert units_of(drawn).covers == BOTH
    assert units_of(drawn).level == runs_of(drawn).level == units_of(runs([38.0, 38.2])).level


def test_the_verdict_after_holms_correction():
    found = compare(runs([38.2, 38.9, 38.4]), runs([37.0, 37.9, 37.5], "two"))
    corrected = found.__class__(**{**found.__dict__, "p_holm": 0.2, "comparisons": 6})
    assert corrected.verdict == "better, but not when corrected for 6 comparisons"


def test_equivalence_needs_more_than_a_wide_interval():
    close = [38.0, 38.02, 37.99, 38.01]
    assert compare(runs(close), runs([value + 0.01 for value in close], "two", 10)).equivalent
    wide = compare(runs([36.0, 40.0, 38.0]), runs([36.1, 40.1, 37.9], "two", 10))
    assert wide.verdict == "within noise"
    assert not wide.equivalent


def test_what_is_found_is_plain():
    found = compare(nested(), runs([37.0, 37.9], "two"))
    assert json.loads(json.dumps(found.__dict__))["covers"] == FINE_TUNING_OF_BOTH
