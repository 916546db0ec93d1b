"""Tidy CSV: summaries beside published figures, single runs, and comparisons, one figure a line."""

import csv
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from benchmark.comparison.plain import comparison_lines, run_lines, summary_lines
from benchmark.comparison.rows import Table
from benchmark.core.text import readable

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def summaries_csv(tables: Sequence[Table]) -> str:
    """Return every summary of repeats and every published figure; ``origin`` is measured, imported or published."""
    return _csv([*summary_lines(tables), *_troubles(tables), *_published(tables)])


def runs_csv(tables: Sequence[Table]) -> str:
    """Return the figures of every completed run; those of single categories stay in the records."""
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
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_safe(line.get(column)) for column in columns] for line in lines)
    return buffer.getvalue()


def _safe(value: Any) -> Any:
    """Return a cell as a spreadsheet should see it; what is missing is empty."""
    if isinstance(value, dict):
        value = " ".join(f"{key}={item}" for key, item in sorted(value.items()))
    return _text(value) if isinstance(value, str) else value


@lru_cache(maxsize=100_000)
def _text(value: str) -> str:
    """Return a text that no spreadsheet runs as a formula: one that begins like a formula gets an apostrophe."""
    text = readable(value, limit=2000)
    return f"'{text}" if text.startswith(FORMULA) and text != "-" else text
