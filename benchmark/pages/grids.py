"""Rows -> the grids of the page: one row a setting, measured beside published, each figure with its records."""

import re
from collections.abc import Sequence

from benchmark.comparison.comparisons import Comparison
from benchmark.comparison.methods import METHOD_NAMES
from benchmark.comparison.published import PublishedRow
from benchmark.comparison.rows import AP_METRICS, TASK_NAMES, MeasuredRow, Table, trouble
from benchmark.comparison.wording import basis_text, interval_text
from benchmark.pages.view import Cell, Column, Grid, Row
from benchmark.records import RunRecord

MAX_RECORDS = 30  # that one figure opens; the JSON and the CSV name all
FIGURES = AP_METRICS[:3]  # AP, AP50, AP75 of a task


def slug(text: str) -> str:
    """Return a text as an id within a page."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "table"


def tasks_of(table: Table) -> list[str]:
    """Return the kinds of AP that a table has figures of, boxes before masks."""
    keys = {key for row in [*table.measured, *table.published] for key in row.values}
    return [task for task in TASK_NAMES if any((task, metric) in keys for _, metric in AP_METRICS)]


def results_grid(table: Table, name: str) -> Grid:
    """Return the grid of a table: measured settings first, published figures below them in the same columns.

    Where a source published the same method at the same length under this protocol, its AP stands beside ours too.
    """
    tasks = tasks_of(table)
    beside = [task for task in tasks if any(table.published_beside(row, task) for row in table.measured)]
    columns = [Column("weights"), Column("epochs", True), Column("runs", True), Column("lr", True)]
    for task in tasks:
        columns += [Column(f"{TASK_NAMES[task]} {metric}", True) for _, metric in FIGURES]
        columns += [Column(f"{TASK_NAMES[task]} AP published", True)] if task in beside else []
    columns += [Column("origin"), Column("not completed")]
    rows = [_measured(table, row, tasks, beside) for row in table.measured]
    rows += [_published(row, tasks, beside) for row in table.published]
    note = (
        "Means of the repeats; below them the standard deviation (sd) of single runs. A measured figure opens its "
        "records, a published one its source, which says in what it differs from this protocol. Higher is better."
    )
    return Grid(f"{name}-results", "Average precision in percent", tuple(columns), tuple(rows), note)


def _measured(table: Table, row: MeasuredRow, tasks: Sequence[str], beside: Sequence[str]) -> Row:
    setting = row.setting
    epochs = setting.epochs_label
    cells = [Cell(row.label), Cell(epochs, _number(setting.epochs)), Cell(str(row.runs), row.runs), _rate(row)]
    for task in tasks:
        cells += [_summary(row, task, metric) for _, metric in FIGURES]
        cells += [_quoted(table.published_rows_beside(row, task), task)] if task in beside else []
    cells += [Cell(row.origin), Cell("; ".join(row.troubles))]
    return Row(tuple(cells), METHOD_NAMES.get(setting.method, setting.method), epochs, row.origin)


def _quoted(rows: Sequence[PublishedRow], task: str) -> Cell:
    """Return published AP of the same method and length under the same protocol, the most trusted account first."""
    if not rows:
        return Cell("")
    values = dict.fromkeys(f"{row.values[task, 'AP']:.1f} ({row.origin})" for row in rows)
    title = "; ".join(dict.fromkeys(row.source for row in rows))
    return Cell("; ".join(values), rows[0].values[task, "AP"], title=title)


def _rate(row: MeasuredRow) -> Cell:
    return Cell(
        row.lr_text,
        min(row.lrs) if row.lrs else None,
    )


def _summary(row: MeasuredRow, task: str, metric: str) -> Cell:
    found = row.summary(task, metric)
    if found is None:
        return Cell("")
    records = tuple(repeat.record for repeat in row.values[task, metric][:MAX_RECORDS])
    note = None if found.sd is None else f"sd {found.sd:.2f}"
    title = f"{found.n} runs of {found.checkpoints} checkpoint(s), mean {found.mean:.3f}"
    if found.half_width is not None:
        width = found.half_width if found.pooled_half_width is None else found.pooled_half_width
        title += f", 95 % interval {found.mean - width:.2f} to {found.mean + width:.2f} over {found.covers}"
    return Cell(f"{found.mean:.1f}", found.mean, records, title=title, note=note)


def _published(row: PublishedRow, tasks: Sequence[str], beside: Sequence[str]) -> Row:
    cells = [Cell(row.label), Cell(row.epochs_text, _number(row.epochs)), Cell(""), Cell("")]
    for task in tasks:
        for _, metric in FIGURES:
            value = row.values.get((task, metric))
            href = address_of(row.source)
            cells.append(Cell("" if value is None else f"{value:.1f}", value, href=href if value is not None else None))
        cells += [Cell("")] if task in beside else []
    account = row.origin if row.status == "primary" else f"{row.origin}, {row.status}"
    account += f"; differs in {row.differs}" if row.differs else ""
    cells += [Cell(f"published ({account})", title=row.source, href=address_of(row.source)), Cell("")]
    return Row(tuple(cells), row.method, row.epochs_text or None, "published")


def address_of(source: str) -> str | None:
    """Return the address that a source names: a link, an arXiv number or a GitHub thread; None where it names none."""
    if found := re.search(r"https?://[^\s)\"'<>]+", source):
        return found.group(0).rstrip(".,;")
    if found := re.search(r"arXiv:?\s?(\d{4}\.\d{4,5})", source):
        return f"https://arxiv.org/abs/{found.group(1)}"
    if found := re.search(r"\bgithub(?:\.com)?[ /]([A-Za-z0-9-]+/[A-Za-z0-9._-]+)", source):
        return f"https://github.com/{found.group(1)}"
    return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def differences_grid(table: Table, name: str) -> Grid | None:
    """Return the comparisons of a table: each setting against the control, longer against shorter pre-training."""
    tasks = tasks_of(table)
    columns = [Column("comparison")]
    for task in tasks:
        columns += [Column(f"{TASK_NAMES[task]} AP difference [95 % interval]", numeric=True)]
        columns += [Column(f"{TASK_NAMES[task]} verdict")]
    found: dict[str, dict[str, Comparison]] = {}
    for task in tasks:
        for comparison in table.comparisons(task):
            found.setdefault(comparison.name, {})[task] = comparison
    rows = [_difference_row(text, by_task, tasks) for text, by_task in found.items()]
    if not rows:
        return None
    covered = sorted(
        {c.difference.covers for by_task in found.values() for c in by_task.values() if c.difference.covers}
    )
    note = (
        "Paired by seed where both sides have it. Within noise: the interval holds 0. "
        + (f"Intervals cover {'; '.join(covered)}. " if covered else "")
        + "Each difference tells on hover what it rests on; the CSV has p-values as they are and corrected (Holm), "
        "both intervals, and the runs that would be needed."
    )
    return Grid(f"{name}-differences", "Differences in AP", tuple(columns), tuple(rows), note)


def _difference_row(text: str, by_task: dict[str, Comparison], tasks: Sequence[str]) -> Row:
    cells, row = [Cell(text)], next(iter(by_task.values())).row
    for task in tasks:
        found = by_task[task].difference if task in by_task else None
        if found is None:
            cells += [Cell(""), Cell("")]
            continue
        pairs = f"{found.n} pairs" if found.paired else f"{found.n} a side, not paired"
        same = f"; equivalent within {found.margin:g} AP" if found.equivalent else ""
        cells += [Cell(interval_text(found), found.mean, title=basis_text(found))]
        cells += [Cell(f"{found.verdict}{same}", note=None if found.half_width is None else pairs)]
    return Row(tuple(cells), METHOD_NAMES.get(row.setting.method, row.setting.method), row.setting.epochs_label)


def troubles_grid(records: Sequence[RunRecord]) -> Grid | None:
    """Return the runs that diverged or failed, with the reason of each."""
    bad = [record for record in records if record.status != "completed"]
    columns = (Column("run"), Column("kind"), Column("how it ended"), Column("reason"))
    rows = [
        Row(
            (
                Cell(record.id, records=(record.id,)),
                Cell(record.kind),
                Cell(trouble(record)),
                Cell(str(record.details.get("reason", ""))),
            ),
            record.method,
            None,
            record.status,
        )
        for record in bad
    ]
    return Grid("troubles", "Runs that did not complete", columns, tuple(rows)) if rows else None
