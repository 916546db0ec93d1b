"""Tidy CSV: one line a summary of repeats or published figure, and one line a figure of a single run."""

import io
from typing import Any

import pandas as pd

from benchmark.comparison.rows import MeasuredRow, Table
from benchmark.core.text import readable

SUMMARY_COLUMNS = (
    "protocol", "protocol_hash", "data", "overrides", "fraction", "origin", "method", "variant", "branch", "epochs",
    "total_epochs", "lr", "lr_chosen_by", "task", "metric", "n", "mean", "sd", "seeds", "records", "value", "status",
    "source",
)  # fmt: skip
RUN_COLUMNS = (
    "protocol", "protocol_hash", "data", "overrides", "fraction", "method", "variant", "branch", "epochs",
    "total_epochs", "lr", "lr_chosen_by", "task", "metric", "seed", "value", "record",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def summaries_csv(tables: list[Table]) -> str:
    """Return every summary and every published figure of the tables, one a line."""
    lines = []
    for table in tables:
        shared = _shared(table)
        for row in table.measured:
            lines += [shared | line for line in _summaries(row)]
        for published in table.published:
            for (task, metric), value in published.values.items():
                line = {"origin": "published", "method": published.method, "epochs": published.epochs}
                line |= {"task": task, "metric": metric, "value": value}
                lines.append(shared | line | {"status": published.status, "source": published.source})
    return _csv(lines, SUMMARY_COLUMNS)


def runs_csv(tables: list[Table]) -> str:
    """Return every figure of every completed run, one a line."""
    lines = []
    for table in tables:
        for row in table.measured:
            shared = _shared(table) | _setting(row)
            for (task, metric), repeats in row.values.items():
                for repeat in repeats:
                    line = {"task": task, "metric": metric, "seed": repeat.seed, "value": repeat.value}
                    lines.append(shared | line | {"record": repeat.record})
    return _csv(lines, RUN_COLUMNS)


def _shared(table: Table) -> dict[str, Any]:
    overrides = " ".join(f"{key}={value}" for key, value in sorted(table.overrides.items()))
    found = {"protocol": table.protocol, "protocol_hash": table.protocol_hash, "data": table.data}
    return found | {"overrides": overrides, "fraction": table.fraction}


def _setting(row: MeasuredRow) -> dict[str, Any]:
    setting = row.setting
    found = {"method": setting.method, "variant": row.variant, "branch": setting.branch}
    found |= {"epochs": setting.epochs, "total_epochs": setting.total_epochs}
    return found | {"lr": setting.lr, "lr_chosen_by": "sweep" if setting.swept else "fixed"}


def _summaries(row: MeasuredRow) -> list[dict[str, Any]]:
    shared = {"origin": "measured"} | _setting(row)
    lines = [shared | {"n": 0, "status": text} for text in row.troubles]
    for (task, metric), repeats in row.values.items():
        found = row.summary(task, metric)
        assert found is not None  # a metric is listed only with values
        line = {"task": task, "metric": metric, "n": found.n, "mean": found.mean, "sd": found.sd}
        line |= {"seeds": " ".join(str(repeat.seed) for repeat in repeats)}
        line |= {"records": " ".join(repeat.record for repeat in repeats), "status": "completed"}
        lines.append(shared | line)
    return lines


def _csv(lines: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    frame = pd.DataFrame([{k: _safe(v) for k, v in line.items()} for line in lines], columns=list(columns))
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False, lineterminator="\n")
    return buffer.getvalue()


def _safe(value: Any) -> Any:
    """Return a cell that no spreadsheet runs as a formula: texts that begin like one get an apostrophe."""
    if not isinstance(value, str):
        return value
    text = readable(value, limit=2000)
    return f"'{text}" if text.startswith(FORMULA) and text != "-" else text
