"""bf16 against float32: only runs that differ in nothing else are compared, and the margin decides what is said."""

import pytest

from benchmark.comparison.precision import precision_differences
from benchmark.comparison.rows import detection_tables
from benchmark.pages.build import build_page
from tests.benchmark.pages.example_records import detection, record, sha

FP32 = (38.0, 38.2, 38.1, 37.9, 38.3)


def runs(values, precision=None, method="byol", seeds=range(9), **changes):
    """Return repeats in the protocol's precision, or in another."""
    found = []
    for seed, value in zip(seeds, values, strict=False):
        changed = {"overrides": {"precision": precision}, "protocol_hash": sha(precision)} if precision else {}
        identity = f"{method}-{precision}-{seed}-{len(changes)}"
        found.append(detection(method, 400, seed, value, **{"id": identity, **changed, **changes}))
    return found


def box(records):
    tables = detection_tables(records, [])
    return [one for one in precision_differences(tables) if one.task == "bbox"]


def test_pairs_by_seed_and_says_equivalent_within_the_margin():
    (found,) = box(
        [*runs(FP32), *runs([x + d for x, d in zip(FP32, (0.05, -0.05, 0.1, 0.0, 0.02), strict=True)], "bf16")]
    )
    assert found.difference.paired
    assert found.difference.n == 5
    assert found.difference.mean == pytest.approx(0.024)
    assert found.difference.equivalent
    assert "bf16" in found.sentence
    assert found.sentence.endswith("(5 pairs); equivalent within 0.3 AP.")


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ((-0.5, -0.52, -0.48, -0.5, -0.51), "worse"),  # clearly there, so clearly not equivalent
        ((0.6, -0.7, 0.5, -0.4, 0.1), "within noise"),  # too noisy to say anything
    ],
)
def test_does_not_say_equivalent_where_the_data_do_not(differences, said):
    (found,) = box([*runs(FP32), *runs([x + d for x, d in zip(FP32, differences, strict=True)], "bf16")])
    assert said in found.sentence
    assert found.sentence.endswith("; not shown to be equivalent within 0.3 AP.")


def test_one_run_a_side_says_nothing():
    (found,) = box([*runs(FP32[:1]), *runs(FP32[:1], "bf16")])
    assert "one run a side says nothing about it" in found.sentence


def test_what_differs_in_more_is_not_compared():
    assert box(runs(FP32)) == []
    assert box(runs(FP32, "bf16")) == []
    assert box([*runs(FP32), *runs(FP32, "bf16", method="simclr")]) == []  # other weights
    assert box([*runs(FP32), *runs(FP32, "bf16", data="embedded")]) == []
    more = {"overrides": {"precision": "bf16", "SOLVER.MAX_ITER": 9}, "protocol_hash": sha("other")}
    assert box([*runs(FP32), *runs(FP32, "bf16", **more)]) == []


def test_pretrainings_of_two_versions_in_one_table_are_compared_with_those_of_one_in_the_other():
    """The later version's record names an option that the older one's does not; it is one recipe in both tables."""
    shared = {"kind": "pretrain", "method": "byol", "metrics": {"pretrain": {"loss": 1.0}}, "duration_seconds": 1.0}
    options = ({"lr": 0.45}, {"lr": 0.45, "flip_p": 0.5})
    trained = [
        record(id=f"pretrain-{i}", seed=i, epochs=400, total_epochs=400, weights_sha256=sha(f"w{i}"), config=config,
               data="imagenet", **shared)
        for i, config in enumerate(options)
    ]  # fmt: skip
    tuned = [
        *runs(FP32[:1], weights_sha256=sha("w0")),
        *runs(FP32[:2], weights_sha256=sha("w1"), seeds=(1, 2)),
        *runs(FP32[:2], "bf16", weights_sha256=sha("w1"), seeds=(1, 2)),
    ]
    assert len(box([*trained, *tuned])) == 1


def test_the_page_has_a_section_only_where_there_is_something_to_compare():
    both = [*runs(FP32), *runs(FP32, "bf16")]
    titles = [section.title for section in build_page(detection_tables(both, []), both).sections]
    assert titles.count("Precision") == 1
    one = runs(FP32)
    assert "Precision" not in [section.title for section in build_page(detection_tables(one, []), one).sections]
