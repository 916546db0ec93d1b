"""Tables and records -> the page: answer, first figure, what was run, one section a table, and what did not work."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.comparison.methods import CONTROL, WITHOUT_EPOCHS
from benchmark.comparison.precision import precision_differences
from benchmark.comparison.rows import TASK_NAMES, MeasuredRow, Table
from benchmark.pages import plots
from benchmark.pages.answer import QUESTION, answer, main_table
from benchmark.pages.details import details_of_all
from benchmark.pages.evidence import curves_section, errors_section, pictures_section
from benchmark.pages.grids import differences_grid, results_grid, slug, troubles_grid
from benchmark.pages.probing import probing_section
from benchmark.pages.runs import RunFolder
from benchmark.pages.sections import cost_section, pretrain_section, rank_section
from benchmark.pages.view import Fact, Page, Plot, Section
from benchmark.records import RunRecord

TITLE = "How much does pre-training help?"
CAVEATS = (
    "AP in percent. COCO val2017 serves both development and test, as in all published figures.",
    "A difference of 0.3 AP on COCO is within the variation between repeats, as the authors of MoCo say.",
    "Published figures are quoted with their source, were not measured here, and are never averaged with ours.",
)
MAX_BARS = 40


def build_page(
    tables: Sequence[Table],
    records: Sequence[RunRecord],
    runs: Sequence[RunFolder] = (),
    annotations: Path | None = None,
) -> Page:
    """Return the page of all tables and records.

    Args:
        runs: the folders behind the records, for curves, pictures and saved detections.
        annotations: COCO ground truth with which saved detections tell which errors cost AP; None leaves that out.
    """
    first, more = answer(tables)
    head = main_table(tables)
    shorts = _short_names([table for table in tables if table.measured])
    sections = [_table_section(table, number, shorts) for number, table in enumerate(tables) if table.measured]
    sections += [
        section
        for section in (
            _precision_section(tables),
            errors_section(runs, annotations),
            pictures_section(runs),
            probing_section(records),
            pretrain_section(records),
            curves_section(runs),
            rank_section(tables, records),
            cost_section(tables, records),
            _troubles_section(records),
            _published_section([table for table in tables if not table.measured]),
        )
        if section is not None
    ]
    return Page(
        title=TITLE,
        question=QUESTION,
        answer=first,
        answer_more=more,
        hero=None if head is None else _hero(head),
        facts=_facts(records),
        sections=tuple(sections),
        footer=" ".join(CAVEATS),
        records=details_of_all(records, [grid for section in sections for grid in section.tables]),
    )


def _facts(records: Sequence[RunRecord]) -> tuple[Fact, ...]:
    """Return what was run: counts, seeds, hardware, dates, commits and hours."""
    if not records:
        return ()
    done = [record for record in records if record.status == "completed"]
    kinds: dict[str, int] = defaultdict(int)
    for record in done:
        kinds[record.kind] += 1
    own = [record for record in records if record.kind != "imported"]
    hours = sum(record.gpu_hours for record in own if record.hardware.get("device") == "cuda")
    cpu_hours = sum(record.duration_seconds or 0.0 for record in own if record.hardware.get("device") != "cuda") / 3600
    devices = sorted({_device(record) for record in records if record.hardware})
    commits = sorted({record.git_commit[:10] for record in records if record.git_commit})
    dates = sorted(str(record.created)[:10] for record in records)
    facts = [
        Fact("completed runs", ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"),
        Fact("not completed", str(len(records) - len(done))),
        Fact("seeds", ", ".join(str(seed) for seed in sorted({record.seed for record in records})[:12])),
        Fact("hardware", "; ".join(devices[:4]) or "not recorded"),
        Fact("GPU hours", f"{hours:.1f}"),
        Fact("hours on CPUs", f"{cpu_hours:.1f}"),
        Fact("dates", dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"),
        Fact("commits", ", ".join(commits[:4]) or "not recorded"),
    ]
    return tuple(facts)


def _device(record: RunRecord) -> str:
    hardware = record.hardware
    name = hardware.get("name") or hardware.get("gpu") or hardware.get("cpu") or hardware.get("device") or "CPU"
    count = hardware.get("processes") or hardware.get("world_size") or 1
    return f"{count} x {name}"


def _hero(table: Table) -> Plot | None:
    """Return box AP against epochs of pre-training, with intervals, beside published points."""
    task = "bbox" if any(("bbox", "AP") in row.values for row in table.measured) else "segm"
    lines, levels, said = [], [], []
    groups: dict[str, list[MeasuredRow]] = defaultdict(list)
    for row in table.measured:
        if not row.numbers(task, "AP"):
            continue
        if row.setting.method in WITHOUT_EPOCHS or not row.setting.epochs:
            numbers = row.numbers(task, "AP")
            levels.append(plots.Level(row.label, sum(numbers) / len(numbers)))
            said.append(f"{row.label} {levels[-1].y:.1f}")
        else:
            groups[row.label].append(row)
    for label, rows in groups.items():
        points = tuple(_point(row, task) for row in rows)
        published = tuple(
            plots.Point(float(row.setting.epochs or 0), value)
            for row in rows
            for value in table.published_beside(row, task)
        )
        lines.append(plots.Line(label, points, published))
        said += [f"{label} after {point.x:g} epochs {point.y:.1f}" for point in points]
    lines += _published_lines(table, task, known=set(groups))
    if not lines and not levels:
        return None
    name = TASK_NAMES[task]
    svg = plots.against_epochs(lines, levels[:4], f"{name} AP (%)", f"hero {table.title}")
    return Plot(
        svg,
        f"{table.title}: {name} AP against epochs of pre-training. Filled: measured here, with 95 % intervals where "
        "there are repeats; hollow diamonds: published elsewhere, same protocol; dashed: weights without epochs.",
        f"{name} AP on {table.title}: " + ("; ".join(said[:12]) or "published figures only") + ".",
    )


def _published_lines(table: Table, task: str, known: set[str]) -> list[plots.Line]:
    """Return the published points of this very protocol, of methods not measured here, the most quoted first."""
    points: dict[str, list[plots.Point]] = defaultdict(list)
    for row in table.published:
        value = row.values.get((task, "AP"))
        if value is None or row.epochs is None or row.differs or row.status == "claim" or row.label in known:
            continue
        points[row.label].append(plots.Point(float(row.epochs), value))
    most = sorted(points.items(), key=lambda item: (-len(item[1]), item[0]))[: max(0, 8 - len(known))]
    return [plots.Line(method, (), tuple(found)) for method, found in most]


def _point(row: MeasuredRow, task: str) -> plots.Point:
    found = row.summary(task, "AP")
    assert found is not None  # rows without values are left out before
    width = found.half_width if found.pooled_half_width is None else found.pooled_half_width
    ends = (None, None) if width is None else (found.mean - width, found.mean + width)
    return plots.Point(float(row.setting.epochs or 0), found.mean, *ends)


def _short_names(tables: Sequence[Table]) -> dict[str, str]:
    """Return names for the navigation by title: the protocol, with what tells its tables apart where it has several."""
    found = {}
    for table in tables:
        titles = [other.title.split(", ") for other in tables if other.protocol == table.protocol]
        shared = set.intersection(*map(set, titles))
        own = [part for part in table.title.split(", ") if part not in shared]
        found[table.title] = ", ".join([table.protocol, *own])
    return found


def _table_section(table: Table, number: int, shorts: Mapping[str, str]) -> Section:
    name = f"t{number}-{slug(table.title)}"
    grids = [grid for grid in (results_grid(table, name), differences_grid(table, name)) if grid is not None]
    figures = [figure for figure in (_rows_figure(table, name),) if figure is not None]
    return Section(name, table.title, shorts[table.title], figures=tuple(figures), tables=tuple(grids))


def _rows_figure(table: Table, name: str) -> Plot | None:
    rows = [row for row in table.measured if row.values][:MAX_BARS]
    tasks = [task for task in TASK_NAMES if any((task, "AP") in row.values for row in rows)]
    if not rows or not tasks:
        return None
    panels = []
    for task in tasks:
        bars = [
            plots.Bar(
                row.name,
                tuple(row.numbers(task, "AP")),
                tuple(table.published_beside(row, task)),
                control=row.setting.method == CONTROL,
            )
            for row in rows
        ]
        panels.append((f"{TASK_NAMES[task]} AP (%)", bars))
    said = "; ".join(f"{bar.name} {_mean_text(bar.runs)}" for bar in panels[0][1][:12])
    caption = "Every run is a dot, the mean a bar; hollow diamonds are published elsewhere."
    return Plot(plots.rows_of_runs(panels, name), caption, f"{panels[0][0]} of each setting: {said}.")


def _mean_text(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.1f} ({len(values)} runs)" if values else "no value"


def _precision_section(tables: Sequence[Table]) -> Section | None:
    found = precision_differences(tables)
    if not found:
        return None
    text = "The same weights, seeds and schedule, fine-tuned in the protocol's precision and in another one."
    return Section("precision", "Precision", "Precision", (text, *(one.sentence for one in found)))


def _troubles_section(records: Sequence[RunRecord]) -> Section | None:
    grid = troubles_grid(records)
    if grid is None:
        return None
    text = "A run that diverged or failed is a result too. These runs are in no mean above."
    return Section("troubles", "What did not complete", "Troubles", (text,), tables=(grid,))


def _published_section(tables: Sequence[Table]) -> Section | None:
    if not tables:
        return None
    grids = []
    for number, table in enumerate(tables):
        grid = results_grid(table, f"p{number}-{slug(table.protocol)}")
        grids.append(type(grid)(grid.id, f"Published: {table.title}", grid.columns, grid.rows, grid.note, folded=True))
    text = "Protocols for which nothing was measured here: what others published, each figure linked to its source."
    return Section("published", "Published figures only", "Published", (text,), tables=tuple(grids))
