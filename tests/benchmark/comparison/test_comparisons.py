"""All comparisons of a table: pooled, corrected for their number, with imported runs beside them but not in them."""

import json

import numpy as np
import pytest

from benchmark.comparison.inference import holm
from benchmark.comparison.plain import comparison_lines, run_lines, summary_lines
from benchmark.comparison.repeats import BOTH
from benchmark.comparison.rows import detection_tables
from benchmark.records import RunRecord


def run(method, epochs, seed, box, **changes):
    values = {"id": f"{method}-{epochs}-{seed}-{changes.get('weights_sha256', '')}", "kind": "detection"}
    values |= {"status": "completed", "method": method, "seed": seed, "epochs": epochs, "total_epochs": epochs}
    values |= {"protocol": "coco-c4-1x", "protocol_hash": "h", "data": "coco", "duration_seconds": 1.0}
    values |= {"metrics": {"bbox": {"AP": box}, "segm": {"AP": box - 4}}, "details": {"lr": 0.02}}
    return RunRecord(**(values | changes))


def records(rows=4):
    draw = np.random.default_rng(0)
    made = []
    for number, method in enumerate(["random", *[f"m{n}" for n in range(rows)]]):
        for seed in range(3):
            weights = None if method == "random" else f"w-{method}"
            box = float(draw.normal(26 + 0.3 * number, 0.2))
            made.append(run(method, 0 if method == "random" else 400, seed, box, weights_sha256=weights))
    return made


def test_all_rows_pool_and_all_comparisons_are_corrected_together():
    (table,) = detection_tables(records(), [])
    found = table.comparisons("bbox")
    assert [c.kind for c in found] == ["control"] * 4
    shared = table.pools("bbox", "AP")[False, 1]
    assert (shared.rows, shared.freedom) == (5, 10)  # the untrained encoder too
    raw = [c.difference.p for c in found]
    assert [c.difference.p_holm for c in found] == pytest.approx(holm(raw))
    assert {c.difference.comparisons for c in found} == {4}
    for c in found:
        assert c.difference.half_width == c.difference.pooled_half_width
        assert c.difference is table.against_control(c.row, "bbox")
    assert table.against_control(table.measured[0], "bbox") is None
    summary = table.measured[1].summary("bbox", "AP")
    assert summary.pooled_half_width < summary.half_width


def test_pretraining_seeds_are_a_level_of_their_own():
    draw = np.random.default_rng(1)
    made = records(0)
    for pretrain_seed in range(3):
        level = float(draw.normal(38, 0.5))
        made += [
            run("moco_v2", 200, seed, level + float(draw.normal(0, 0.1)), weights_sha256=f"w{pretrain_seed}")
            for seed in range(2)
        ]
    sources = [
        RunRecord(
            id=f"p{seed}", kind="pretrain", status="completed", method="moco_v2", seed=seed, epochs=200,
            total_epochs=200, weights_sha256=f"w{seed}", metrics={}, duration_seconds=1.0, data="imagenet",
            config={"seed": seed, "epochs": 200, "method": "moco_v2"},
        )
        for seed in range(3)
    ]  # fmt: skip
    (table,) = detection_tables([*made, *sources], [])
    row = table.measured[1]
    summary = row.summary("bbox", "AP")
    assert (summary.n, summary.checkpoints, summary.covers) == (6, 3, BOTH)
    assert summary.sd_pretraining > summary.sd_fine_tuning
    found = table.against_control(row, "bbox")
    # A pre-training with seed s begins from the untrained encoder of seed s: the two are a pair.
    assert (found.covers, found.paired, found.n) == (BOTH, True, 3)


def test_imported_runs_stand_beside_the_others_and_are_compared_with_none():
    theirs = run("regioncl", 200, None, 39.0, kind="imported", duration_seconds=None, id="imported-1")
    (table,) = detection_tables([*records(2), theirs], [])
    assert [row.origin for row in table.measured].count("imported") == 1
    assert all(c.row.origin == "measured" for c in table.comparisons("bbox"))
    other = theirs.model_copy(update={"protocol_hash": "x", "overrides": {"INPUT.MAX_SIZE_TRAIN": 1200}})
    assert len(detection_tables([*records(2), other], [])) == 2
    unknown = theirs.model_copy(update={"protocol": None})
    assert len(detection_tables([*records(2), unknown], [])) == 1


def test_tables_are_plain_values():
    tables = detection_tables(records(2), [])
    assert len(comparison_lines(tables)) == 4
    line = comparison_lines(tables)[0]
    assert line["low"] < line["difference"] < line["high"]
    assert {"own_half_width", "pooled_half_width", "p_holm", "verdict"} <= set(line)
    summaries, runs = summary_lines(tables), run_lines(tables)
    assert (len(summaries), len(runs)) == (3 * 2, 3 * 2 * 3)
    assert all(line["n"] == 3 for line in summaries)
    assert [line["source"] for line in runs if line["task"] == "segm"][3] == "w-m0"
    assert all(json.loads(json.dumps(each, allow_nan=False)) == each for each in (line, *summaries, *runs))
