"""Tables as Markdown, tidy CSV and figures. Absent values are blank, never 0; higher AP is better (the arrow)."""

import io
from collections.abc import Iterable

import pandas as pd

from benchmark.comparison.rows import METHOD_NAMES, METRICS, TASK_NAMES, MeasuredRow, Table, trouble
from benchmark.comparison.wording import difference_text, measured_text
from benchmark.records import RunRecord

CSV_COLUMNS = (
    "protocol", "protocol_hash", "data", "overrides", "fraction", "origin", "method", "variant", "branch", "epochs",
    "total_epochs", "lr", "lr_chosen_by", "task", "metric", "n", "mean", "sd", "seeds", "records", "value", "status",
    "source",
)  # fmt: skip


def cell_text(value: object) -> str:
    """Return a value as the text of one Markdown cell: one line, bars and the sign of HTML tags escaped."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "\\<")


def plain_text(cell: str) -> str:
    """Undo ``cell_text``."""
    return cell.strip().replace("\\|", "|").replace("\\<", "<")


def markdown(header: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table; what would break it inside a cell is escaped."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(map(cell_text, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def table_markdown(table: Table) -> str:
    """Return one protocol's section: measured beside published, differences from the control, longer pre-training."""
    parts = [f"## {cell_text(table.title)}\n"]
    parts.append(_main_table(table) if table.measured else "Nothing measured yet.\n")
    if table.measured:
        parts.append(_differences(table))
    if table.published:
        parts.append("Published figures of this protocol (quoted, not measured here):\n")
        parts.append(_published_table(table))
    return "\n".join(parts)


def _tasks(table: Table) -> list[str]:
    keys = {key for row in [*table.measured, *table.published] for key in row.values}
    return [task for task in TASK_NAMES if any((task, metric) in keys for _, metric in METRICS)]


def _main_table(table: Table) -> str:
    tasks = _tasks(table)
    header = ["weights", "epochs", "lr", "n"]
    for task in tasks:
        header += [f"{TASK_NAMES[task]} {metric} ↑ measured" for _, metric in METRICS[:3]]
        header += [f"{TASK_NAMES[task]} AP published"] if table.published else []
    header.append("not completed")
    rows = []
    for row in table.measured:
        cells = [row.label, row.setting.epochs_label, row.lr_text, str(row.runs)]
        for task in tasks:
            cells += [measured_text(row.summary(task, metric)) for _, metric in METRICS[:3]]
            cells += [_published_beside(table, row, task)] if table.published else []
        rows.append([*cells, "; ".join(row.troubles)])
    return markdown(header, rows)


def _published_beside(table: Table, row: MeasuredRow, task: str) -> str:
    """Return the published AP of the same method and epochs, lowest to highest where sources differ."""
    values = table.published_beside(row, task)
    if not values:
        return ""
    return f"{values[0]:.1f}" if values[0] == values[-1] else f"{values[0]:.1f} to {values[-1]:.1f}"


def _differences(table: Table) -> str:
    """Return the comparison tables: against the untrained encoder, and longer against shorter pre-training."""
    tasks = _tasks(table)
    header = ["comparison", *[f"{TASK_NAMES[task]} AP, difference [95 % interval]" for task in tasks]]
    by_pair: dict[tuple[int, int], list[str]] = {}
    names: dict[tuple[int, int], str] = {}
    for number, task in enumerate(tasks):
        for comparison in table.comparisons(task):
            pair = (id(comparison.row), id(comparison.reference))
            names[pair] = comparison.name
            by_pair.setdefault(pair, [""] * len(tasks))[number] = difference_text(comparison.difference)
    if not by_pair:
        return ""
    return markdown(header, [[names[pair], *cells] for pair, cells in by_pair.items()]) + "\n" + _NOTE


_NOTE = (
    "Student's 95 % interval of the difference, with the sd pooled over the rows of the table where a test does not "
    "object, otherwise paired by seed or Welch's. “Within noise”: it holds 0. The sd in the table above is between "
    "runs.\n"
)


def _published_table(table: Table) -> str:
    tasks = _tasks(table)
    header = ["method", "epochs"]
    header += [f"{TASK_NAMES[task]} AP / AP50 / AP75" for task in tasks] + ["status", "source"]
    rows = []
    for row in table.published:
        cells = [row.method, row.epochs]
        for task in tasks:
            values = [row.values.get((task, metric)) for _, metric in METRICS[:3]]
            some = any(value is not None for value in values)
            cells.append(" / ".join("–" if v is None else f"{v:.1f}" for v in values) if some else "")
        rows.append([*cells, row.status, row.source])
    return markdown(header, rows)


def pretrain_markdown(records: list[RunRecord]) -> str:
    """Return the table of pre-training runs: loss, effective ranks (always together with gamma), hours."""
    rows = []
    for record in sorted(records, key=lambda r: (r.method, r.epochs or 0, r.seed)):
        values = record.metrics.get("pretrain", {})
        numbers = [_number(values.get(key)) for key in ("loss", "effective_rank_backbone", "effective_rank_projector")]
        gamma = record.config.get("gamma")
        status = record.status if record.status == "completed" else trouble(record)
        hours = f"{record.duration_seconds / 3600:.2f}"
        name = METHOD_NAMES.get(record.method, record.method)
        rows.append([name, str(record.epochs), str(record.seed), _number(gamma), *numbers, hours, status])
    header = [
        "method",
        "epochs",
        "seed",
        "gamma",
        "last loss",
        "effective rank: backbone",
        "projector",
        "hours",
        "status",
    ]
    return "## Pre-training\n\n" + markdown(header, rows)


def classification_markdown(records: list[RunRecord]) -> str:
    """Return the table of probes: linear and k-NN top-1 in percent, one row a run."""
    rows = []
    for record in sorted(records, key=lambda r: (r.data or "", r.method, r.epochs or 0, r.seed)):
        linear, knn = record.metrics.get("linear", {}), record.metrics.get("knn", {})
        epochs = "?" if record.epochs is None else str(record.epochs)
        status = record.status if record.status == "completed" else trouble(record)
        scores = [_number(linear.get("top1")), _number(knn.get("top1"))]
        name = METHOD_NAMES.get(record.method, record.method)
        rows.append([str(record.data), name, epochs, str(record.seed), *scores, status])
    header = ["data", "method", "epochs", "seed", "linear top-1 ↑", "k-NN top-1 ↑", "status"]
    return "## Classification\n\n" + markdown(header, rows)


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else ""


def tidy_csv(tables: list[Table]) -> str:
    """Return every figure of the tables as CSV text, one a line; ``origin`` is measured or published."""
    lines = []
    for table in tables:
        overrides = " ".join(f"{key}={value}" for key, value in sorted(table.overrides.items()))
        shared = {"protocol": table.protocol, "protocol_hash": table.protocol_hash, "data": table.data}
        shared |= {"overrides": overrides, "fraction": table.fraction}
        for row in table.measured:
            lines += [shared | line for line in _measured_lines(row)]
        for published in table.published:
            for (task, metric), value in published.values.items():
                line = {"origin": "published", "method": published.method, "epochs": published.epochs}
                line |= {"task": task, "metric": metric, "value": value}
                lines.append(shared | line | {"status": published.status, "source": published.source})
    frame = pd.DataFrame(lines, columns=list(CSV_COLUMNS))
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False)
    return buffer.getvalue()


def _measured_lines(row: MeasuredRow) -> list[dict[str, object]]:
    setting = row.setting
    shared = {"origin": "measured", "method": setting.method, "variant": row.variant, "branch": setting.branch}
    shared |= {"epochs": setting.epochs, "total_epochs": setting.total_epochs}
    shared |= {"lr": setting.lr, "lr_chosen_by": "sweep" if setting.swept else "fixed"}
    lines = [shared | {"n": 0, "status": trouble_text} for trouble_text in row.troubles]
    for (task, metric), repeats in row.values.items():
        summary = row.summary(task, metric)
        assert summary is not None  # a metric is listed only with values
        line = {"task": task, "metric": metric, "n": summary.n, "mean": summary.mean, "sd": summary.sd}
        line |= {"seeds": " ".join(str(repeat.seed) for repeat in repeats)}
        line |= {"records": " ".join(repeat.record for repeat in repeats)}
        lines.append(shared | line | {"status": "completed"})
    return lines
