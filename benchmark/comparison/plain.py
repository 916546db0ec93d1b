"""Tables as plain values: lines for CSV (summaries, runs, comparisons)."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from benchmark.comparison.comparisons import Comparison
from benchmark.comparison.rows import TASK_NAMES, MeasuredRow, Table


def _table_fields(table: Table) -> dict[str, Any]:
    return {
        "protocol": table.protocol,
        "protocol_hash": table.protocol_hash,
        "data": table.data,
        "overrides": dict(table.overrides),
        "fraction": table.fraction,
    }


def _row_fields(row: MeasuredRow) -> dict[str, Any]:
    setting = row.setting
    return {
        "origin": row.origin,
        "method": setting.method,
        "method_source": setting.method_source,
        "zoo": setting.zoo,
        "label": row.label,
        "variant": row.variant,
        "branch": setting.branch,
        "epochs": setting.epochs,
        "epochs_source": setting.epochs_source,
        "total_epochs": setting.total_epochs,
        "lr": setting.lr,
        "lr_chosen_by": "sweep" if setting.swept else "fixed",
    }


def _comparison_line(comparison: Comparison, task: str) -> dict[str, Any]:
    found = comparison.difference
    low, high = found.interval or (None, None)
    better, better_low, better_high = found.superiority or (None, None, None)
    return {
        "comparison": comparison.name,
        "kind": comparison.kind,
        "task": task,
        "metric": "AP",
        "difference": found.mean,
        "low": low,
        "high": high,
        "own_half_width": found.own_half_width,
        "pooled_half_width": found.pooled_half_width,
        "n": found.n,
        "paired": found.paired,
        "covers": found.covers,
        "p": found.p,
        "p_holm": found.p_holm,
        "comparisons": found.comparisons,
        "p_better": better,
        "p_better_low": better_low,
        "p_better_high": better_high,
        "margin": found.margin,
        "p_equivalence": found.p_equivalence,
        "runs_for_margin": found.runs_for_margin,
        "runs_for_difference": found.runs_for_difference,
        "verdict": found.verdict,
    }


def comparison_lines(tables: Iterable[Table]) -> list[dict[str, Any]]:
    """Return every comparison of the tables, one a line, with both intervals and all p-values."""
    return [
        _table_fields(table) | _comparison_line(comparison, task)
        for table in tables
        for task in TASK_NAMES
        for comparison in table.comparisons(task)
    ]


def summary_lines(tables: Iterable[Table]) -> list[dict[str, Any]]:
    """Return every summary of the measured rows, one metric a line, with both intervals and the variances' sds.

    The APs of single categories are left out: 160 lines a row that few read, and the records have them.
    """
    lines = []
    for table in tables:
        for row in table.measured:
            for (task, metric), repeats in row.values.items():
                line = _table_fields(table) | _row_fields(row) | {"task": task, "metric": metric}
                seeds = " ".join(str(repeat.seed) for repeat in repeats)
                lines.append(line | asdict(row.summary(task, metric)) | {"seeds": seeds})
    return lines


def run_lines(tables: Iterable[Table]) -> list[dict[str, Any]]:
    """Return every figure of every run of the tables but those of single categories, one a line."""
    lines = []
    for table in tables:
        for row in table.measured:
            shared = _table_fields(table) | _row_fields(row)
            for (task, metric), repeats in row.values.items():
                lines += [shared | {"task": task, "metric": metric} | repeat._asdict() for repeat in repeats]
    return lines
