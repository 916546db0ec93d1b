"""Sections beside the tables of AP: pre-training, effective rank against AP, and cost."""

from collections import defaultdict
from collections.abc import Sequence

from scipy import stats

from benchmark.comparison.methods import METHOD_NAMES
from benchmark.comparison.rows import MeasuredRow, Table, by_weights, source_of, trouble
from benchmark.comparison.wording import signed
from benchmark.pages import plots
from benchmark.pages.details import duration
from benchmark.pages.view import Cell, Column, Grid, Plot, Row, Section
from benchmark.records import RunRecord

RANK = "effective_rank_backbone"
MIN_FOR_CORRELATION = 4


def pretrain_section(records: Sequence[RunRecord]) -> Section | None:
    """Return the pre-training runs: last loss, effective ranks, duration."""
    chosen = sorted(
        (record for record in records if record.kind == "pretrain"), key=lambda r: (r.method, r.epochs or 0, r.seed)
    )
    if not chosen:
        return None
    columns = [Column("method"), Column("epochs", True), Column("seed", True), Column("gamma", True)]
    columns += [Column("last loss", True), Column("rank of backbone", True), Column("rank of projector", True)]
    columns += [Column("duration", True), Column("how it ended")]
    rows = []
    for record in chosen:
        values = record.metrics.get("pretrain", {})
        numbers = [values.get("loss"), values.get(RANK), values.get("effective_rank_projector")]
        cells = [
            Cell(METHOD_NAMES.get(record.method, record.method), records=(record.id,)),
            Cell(str(record.epochs if record.epochs is not None else ""), record.epochs),
            Cell(str(record.seed), record.seed),
            figure(record.config.get("gamma")),
            *map(figure, numbers),
            Cell(duration(record.duration_seconds), record.duration_seconds),
            Cell("completed" if record.status == "completed" else trouble(record)),
        ]
        rows.append(Row(tuple(cells), METHOD_NAMES.get(record.method, record.method), str(record.epochs)))
    definitions = sorted(
        {str(r.details["effective_rank_definition"]) for r in chosen if "effective_rank_definition" in r.details}
    )
    note = f"Effective rank: {'; '.join(definitions)}." if definitions else ""
    grid = Grid("pretraining-runs", "Pre-training runs", tuple(columns), tuple(rows), note)
    return Section("pretraining", "Pre-training", "Pre-training", tables=(grid,))


def figure(value: object) -> Cell:
    """Return a number with four digits, an empty cell for what is none."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(f"{value:.4g}", float(value)) if good else Cell("")


def rank_section(tables: Sequence[Table], records: Sequence[RunRecord]) -> Section | None:
    """Return effective rank against AP, by method: across methods the two are not comparable (RankMe's authors)."""
    before = by_weights(records)
    by_id = {record.id: record for record in records}
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for table in tables[:1]:
        for row in table.measured:
            for repeat in row.values.get(("bbox", "AP"), []):
                source = source_of(by_id[repeat.record], before)
                rank = source.metrics.get("pretrain", {}).get(RANK) if source else None
                if isinstance(rank, int | float):
                    points[row.label].append((float(rank), repeat.value))
    if not any(len({x for x, _ in found}) > 1 for found in points.values()):
        return None
    said = []
    for label, found in points.items():
        if len({x for x, _ in found}) >= MIN_FOR_CORRELATION:
            rho = float(stats.spearmanr([x for x, _ in found], [y for _, y in found]).statistic)
            said.append(f"{label}: rank correlation {rho:+.2f} over {len(found)} runs")
    text = (
        "Effective rank of the pre-trained backbone against AP of the detector. It is compared within one method only. "
        + ("; ".join(said) + "." if said else "There are too few different checkpoints for a rank correlation.")
    )
    svg = plots.scatter(list(points.items()), "effective rank of the backbone", "box AP (%)", "rank against ap")
    alt = "; ".join(f"{label}: {len(found)} runs" for label, found in points.items())
    figure = Plot(svg, f"{tables[0].title}: one dot a run.", f"Effective rank against box AP. {alt}.")
    return Section("rank", "Effective rank and AP", "Rank", (text,), (figure,))


def cost_section(tables: Sequence[Table], records: Sequence[RunRecord]) -> Section | None:
    """Return what each setting cost: hours of pre-training and fine-tuning, and AP gained for them."""
    by_id = {record.id: record for record in records}
    before = by_weights(records)
    columns = [
        Column("setting"),
        Column("protocol"),
        Column("pre-training, hours", True),
        Column("fine-tuning a run, hours", True),
    ]
    columns += [Column("hardware"), Column("box AP", True), Column("box AP gained an hour of pre-training", True)]
    rows = []
    for table in tables:
        for row in table.measured:
            runs = [by_id[repeat.record] for repeat in row.values.get(("bbox", "AP"), []) if repeat.record in by_id]
            if not runs:
                continue
            tuned = sum(run.gpu_hours for run in runs) / len(runs)
            sources = [source for run in runs if (source := source_of(run, before)) is not None]
            trained = sum(s.gpu_hours for s in sources) / len(sources) if sources else None
            rows.append(_cost_row(table, row, tuned, trained, runs))
    if not rows:
        return None
    note = (
        "Hours are wall time times the processes of a run: GPU hours where there was a GPU. Gain: AP above the "
        "untrained encoder, divided by the hours of pre-training; it compares only runs on equal hardware."
    )
    grid = Grid("cost-table", "What it cost", tuple(columns), tuple(rows), note)
    return Section("cost", "Cost", "Cost", tables=(grid,))


def _cost_row(table: Table, row: MeasuredRow, tuned: float, trained: float | None, runs: Sequence[RunRecord]) -> Row:
    found = table.against_control(row, "bbox")
    mean = row.summary("bbox", "AP").mean
    gained = found.mean / trained if found is not None and trained else None
    hardware = sorted({str(run.hardware.get("name") or run.hardware.get("device") or "") for run in runs})
    cells = (
        Cell(row.name, records=tuple(run.id for run in runs)),
        Cell(table.protocol),
        Cell("" if trained is None else f"{trained:.2f}", trained),
        Cell(f"{tuned:.2f}", tuned),
        Cell(", ".join(filter(None, hardware))),
        Cell(f"{mean:.1f}", mean),
        Cell("" if gained is None else signed(gained, 2), gained),
    )
    return Row(cells, row.label, row.setting.epochs_label)
