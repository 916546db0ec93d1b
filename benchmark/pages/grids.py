"""Rows -> the grids of the page: one row a setting, measured beside published, each figure with its records."""

import re
from collections.abc import Sequence

from benchmark.comparison.published import PublishedRow
from benchmark.comparison.repeats import Difference, difference
from benchmark.comparison.rows import METHOD_NAMES, METRICS, TASK_NAMES, MeasuredRow, Table, trouble
from benchmark.pages.view import Cell, Column, Grid, Row
from benchmark.records import RunRecord

FIGURES = METRICS[:3]  # AP, AP50, AP75 of a task


def slug(text: str) -> str:
    """Return a text as an id within a page."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "table"


def tasks_of(table: Table) -> list[str]:
    """Return the kinds of AP that a table has figures of, boxes before masks."""
    keys = {key for row in [*table.measured, *table.published] for key in row.values}
    return [task for task in TASK_NAMES if any((task, metric) in keys for _, metric in METRICS)]


def results_grid(table: Table, name: str) -> Grid:
    """Return the grid of a table: measured settings first, published figures below them in the same columns."""
    tasks = tasks_of(table)
    columns = [
        Column("weights"),
        Column("epochs", numeric=True),
        Column("runs", numeric=True),
        Column("lr", numeric=True),
    ]
    columns += [Column(f"{TASK_NAMES[task]} {metric}", numeric=True) for task in tasks for _, metric in FIGURES]
    columns += [Column("origin"), Column("not completed")]
    rows = [_measured(row, tasks) for row in table.measured]
    rows += [_published(row, tasks) for row in table.published]
    note = (
        "Means of the repeats; below them the standard deviation (sd) of single runs. A measured figure opens its "
        "records, a published one its source. Higher is better."
    )
    return Grid(f"{name}-results", "Average precision in percent", tuple(columns), tuple(rows), note)


def _measured(row: MeasuredRow, tasks: Sequence[str]) -> Row:
    setting = row.setting
    epochs = setting.epochs_label
    cells = [Cell(row.label), Cell(epochs, _number(setting.epochs)), Cell(str(row.runs), row.runs), _rate(row)]
    cells += [_summary(row, task, metric) for task in tasks for _, metric in FIGURES]
    cells += [Cell("measured"), Cell("; ".join(row.troubles))]
    return Row(tuple(cells), METHOD_NAMES.get(setting.method, setting.method), epochs, "measured")


def _rate(row: MeasuredRow) -> Cell:
    text = ", ".join(f"{lr:g}" for lr in sorted(row.lrs))
    return Cell(text, min(row.lrs) if row.lrs else None, note="swept" if row.setting.swept else None)


def _summary(row: MeasuredRow, task: str, metric: str) -> Cell:
    found = row.summary(task, metric)
    if found is None:
        return Cell("")
    records = tuple(repeat.record for repeat in row.values[task, metric])
    note = None if found.sd is None else f"sd {found.sd:.2f}"
    return Cell(f"{found.mean:.1f}", found.mean, records, title=f"{found.n} runs, mean {found.mean:.3f}", note=note)


def _published(row: PublishedRow, tasks: Sequence[str]) -> Row:
    epochs = row.epochs if row.epochs not in ("", "-") else None
    cells = [Cell(row.method), Cell(row.epochs, _epochs(row.epochs)), Cell(""), Cell("")]
    for task in tasks:
        for _, metric in FIGURES:
            value = row.values.get((task, metric))
            href = address_of(row.source)
            cells.append(Cell("" if value is None else f"{value:.1f}", value, href=href if value is not None else None))
    cells += [Cell(f"published ({row.status})", title=row.source, href=address_of(row.source)), Cell("")]
    return Row(tuple(cells), row.method, epochs, "published")


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


def _epochs(text: str) -> float | None:
    found = re.match(r"\d+", text)
    return float(found.group(0)) if found else None


def differences_grid(table: Table, name: str) -> Grid | None:
    """Return the comparisons of a table: each setting against the control, longer against shorter pre-training."""
    tasks = tasks_of(table)
    columns = [Column("comparison")]
    for task in tasks:
        columns += [Column(f"{TASK_NAMES[task]} AP difference", numeric=True), Column(f"{TASK_NAMES[task]} verdict")]
    rows = []
    for row in table.measured:
        control = table.control_of(row)
        if control is not None:
            text = f"{row.label}, {row.setting.epochs_text} − {control.label}"
            rows.append(_difference_row(text, row, [table.against_control(row, task) for task in tasks]))
    for shorter, longer in table.length_pairs():
        text = f"{longer.label}, {longer.setting.epochs_label} − {shorter.setting.epochs_text}"
        found = [difference(longer.by_seed(task), shorter.by_seed(task)) for task in tasks]
        rows.append(_difference_row(text, longer, found))
    rows = [row for row in rows if any(cell.text for cell in row.cells[1:])]
    if not rows:
        return None
    note = "Interval: 95 %, Student's. Within noise: the interval holds 0."
    return Grid(f"{name}-differences", "Differences in AP", tuple(columns), tuple(rows), note)


def _difference_row(text: str, row: MeasuredRow, found: Sequence[Difference | None]) -> Row:
    cells = [Cell(text)]
    for item in found:
        cells += [interval_cell(item), Cell("" if item is None else item.verdict)]
    return Row(tuple(cells), METHOD_NAMES.get(row.setting.method, row.setting.method), row.setting.epochs_label)


def interval_cell(found: Difference | None) -> Cell:
    """Return a difference with its interval below it; both with the digits that the verdict was made from."""
    if found is None:
        return Cell("")
    note = None
    if found.half_width is not None:
        low, high = found.mean - found.half_width, found.mean + found.half_width
        note = f"{low:+.2f} to {high:+.2f}"
    return Cell(f"{found.mean + 0.0:+.2f}", found.mean, note=note)


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
