"""Tidy CSV: summaries beside published figures, single runs, and comparisons, one figure a line."""

import io
from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmark.comparison.plain import comparison_lines, run_lines, summary_lines
from benchmark.comparison.rows import Table
from benchmark.core.text import readable

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def summaries_csv(tables: Sequence[Table]) -> str:
    """Return every summary of repeats and every published figure; ``origin`` is measured, imported or published."""
    return _csv([*summary_lines(tables), *_troubles(tables), *_published(tables)])


def runs_csv(tables: Sequence[Table]) -> str:
    """Return every figure of every completed run."""
    return _csv(run_lines(tables))


def comparisons_csv(tables: Sequence[Table]) -> str:
    """Return every comparison with both intervals, p-values before and after correction, and the runs needed."""
    return _csv(comparison_lines(tables))


def _troubles(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Return one line a run that did not complete, which has no figure."""
    return [
        {"protocol": table.protocol, "data": table.data, "origin": row.origin, "method": row.setting.method}
        | {"epochs": row.setting.epochs, "n": 0, "status": text}
        for table in tables
        for row in table.measured
        for text in row.troubles
    ]


def _published(tables: Sequence[Table]) -> list[dict[str, Any]]:
    return [
        {"protocol": table.protocol, "data": table.data, "origin": "published", "method": row.method}
        | {"variant": row.variant, "epochs": row.epochs_text, "task": task, "metric": metric, "value": value}
        | {"differs": row.differs, "account": row.origin, "status": row.status, "source": row.source}
        for table in tables
        for row in table.published
        for (task, metric), value in row.values.items()
    ]


def _csv(lines: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for line in lines for key in line))
    frame = pd.DataFrame([{key: _safe(value) for key, value in line.items()} for line in lines], columns=columns)
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False, lineterminator="\n")
    return buffer.getvalue()


def _safe(value: Any) -> Any:
    """Return a cell that no spreadsheet runs as a formula: texts that begin like one get an apostrophe."""
    if isinstance(value, dict):
        value = " ".join(f"{key}={item}" for key, item in sorted(value.items()))
    if not isinstance(value, str):
        return value
    text = readable(value, limit=2000)
    return f"'{text}" if text.startswith(FORMULA) and text != "-" else text
