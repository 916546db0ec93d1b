"""The section of probes: means over pre-training seeds, and every run below them."""

from collections.abc import Mapping, Sequence

from benchmark.comparison.methods import METHOD_NAMES, name_of
from benchmark.comparison.probed import probed_rows
from benchmark.comparison.repeats import BOTH
from benchmark.comparison.rows import MeasuredRow, by_weights, source_of, trouble
from benchmark.pages.sections import figure
from benchmark.pages.view import Cell, Column, Grid, Row, Section
from benchmark.records import RunRecord

PROBES = {"linear_exact": "exact linear", "linear": "linear", "knn": "k-NN"}
RANK = ("features", "effective_rank")


def probing_section(records: Sequence[RunRecord]) -> Section | None:
    """Return the means over seeds of what was pre-trained with several, and all probes, one row a run."""
    chosen = [record for record in records if record.kind == "classification"]
    if not chosen:
        return None
    grids = [grid for grid in (means_grid(records), _runs_grid(chosen, by_weights(records))) if grid is not None]
    return Section("probing", "Probing", "Probing", tables=tuple(grids))


def means_grid(records: Sequence[RunRecord]) -> Grid | None:
    """Return mean and interval over checkpoints of every setting that has at least two; None where none has."""
    columns = [Column("weights"), Column("data"), Column("epochs", True), Column("seeds", True)]
    columns += [*(Column(name, True) for name in PROBES.values()), Column("effective rank", True)]
    rows = [
        _means_row(row, data)
        for data, settings in probed_rows(records).items()
        for row in settings
        if _several_checkpoints(row)
    ]
    note = (
        "Top-1 in percent on the test images, and effective rank: means over pre-training seeds with 95 % intervals "
        "from the spread between those seeds (Student's). The untrained encoder is drawn by its seed. What was "
        "pre-trained with one seed, or has no record of its pre-training here, stands in the table of single runs only."
    )
    return Grid("probes-means", "Probes, means over seeds", tuple(columns), tuple(rows), note) if rows else None


def _several_checkpoints(row: MeasuredRow) -> bool:
    return any(found.covers == BOTH for key in row.values if (found := row.summary(*key)) is not None)


def _means_row(row: MeasuredRow, data: str) -> Row:
    setting = row.setting
    metrics = [*((probe, "top1") for probe in PROBES), RANK]
    seeds = max(found.checkpoints for metric in metrics if (found := row.summary(*metric)) is not None)
    cells = [Cell(row.label), Cell(data), Cell(setting.epochs_label, setting.epochs), Cell(str(seeds), seeds)]
    cells += [_mean(row, metric) for metric in metrics]
    return Row(tuple(cells), name_of(setting.method), setting.epochs_label)


def _mean(row: MeasuredRow, metric: tuple[str, str]) -> Cell:
    """Return ``46.3 [44.1, 48.5]``, with the records behind it."""
    found = row.summary(*metric)
    if found is None:
        return Cell("")
    text = f"{found.mean:.1f}"
    if found.half_width is not None:
        text += f" [{found.mean - found.half_width:.1f}, {found.mean + found.half_width:.1f}]".replace("-", "−")
    return Cell(text, found.mean, tuple(repeat.record for repeat in row.values[metric]))


def _runs_grid(chosen: Sequence[RunRecord], before: Mapping[str, RunRecord]) -> Grid:
    """Return all probes: top-1 of the classifiers with intervals over test images, and the rank."""
    chosen = sorted(chosen, key=lambda r: (r.data or "", r.method, r.epochs or 0, r.pretrain_seed or 0, r.seed))
    columns = [Column("weights"), Column("data"), Column("epochs", True), Column("gamma", True), Column("lr", True)]
    columns += [Column("seed", True), *(Column(name, True) for name in PROBES.values())]
    columns += [Column("effective rank", True), Column("how it ended")]
    rows = [_probe_row(record, source_of(record, before)) for record in chosen]
    note = (
        "Top-1 in percent on the test images; ± is half of the 95 % bootstrap interval over them, which says nothing "
        "about another pre-training seed. Gamma and learning rate are those of the pre-training where its record is "
        "here; the seed is that of the pre-training, or of the untrained encoder."
    )
    return Grid("probes", "Probes of frozen features", tuple(columns), tuple(rows), note)


def _probe_row(record: RunRecord, source: RunRecord | None) -> Row:
    name = METHOD_NAMES.get(record.method, record.method)
    config = source.config if source else {}
    seed = record.seed if record.pretrain_seed is None else record.pretrain_seed
    cells = [
        Cell(name, records=(record.id,)),
        Cell(str(record.data or "")),
        Cell("?" if record.epochs is None else str(record.epochs), record.epochs),
        figure(config.get("gamma")),
        figure(config.get("lr")),
        Cell(str(seed), seed),
        *(_accuracy(record.metrics.get(probe, {})) for probe in PROBES),
        figure(record.metrics.get(RANK[0], {}).get(RANK[1])),
        Cell("completed" if record.status == "completed" else trouble(record)),
    ]
    return Row(tuple(cells), name, str(record.epochs))


def _accuracy(scores: Mapping[str, float]) -> Cell:
    """Return top-1 with half of its interval over test images, where there is one."""
    value, low, high = (scores.get(name) for name in ("top1", "top1_low", "top1_high"))
    if value is None:
        return Cell("")
    return Cell(f"{value:.1f}" + ("" if low is None or high is None else f" ± {(high - low) / 2:.1f}"), value)
