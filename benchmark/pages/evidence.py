"""Sections made from run folders: curves of training, kinds of errors, pictures of predictions."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.comparison.methods import CONTROL, METHOD_NAMES
from benchmark.comparison.rows import TASK_NAMES
from benchmark.comparison.wording import signed
from benchmark.detections.files import read_ground_truth, read_predictions
from benchmark.detections.reasons import ERRORS, SIZES, Errors, difference_over_images, errors
from benchmark.pages import plots
from benchmark.pages.runs import PREDICTIONS, RunFolder, curve, picture
from benchmark.pages.view import Cell, Column, Grid, Photo, Plot, Row, Section
from benchmark.records import RunRecord

MAX_CURVES, MAX_PICTURES, MAX_SCORED = 8, 6, 40
RESAMPLES = 300  # of the validation images
Saved = tuple[RunFolder, list[dict[str, Any]]]  # a run with its saved detections


def name_of(run: RunFolder) -> str:
    """Return a run's name for people: method, epochs, seed."""
    record = run.record
    epochs = f", {record.epochs} epochs" if record.epochs else ""
    return f"{METHOD_NAMES.get(record.method, record.method)}{epochs}, seed {record.seed}"


def curves_section(runs: Sequence[RunFolder]) -> Section | None:
    """Return the loss and the effective rank over pre-training, one line a run."""
    chosen = [run for run in runs if run.record.kind == "pretrain"][:MAX_CURVES]
    figures = []
    for key, label in (("loss", "loss"), ("effective_rank_backbone", "effective rank of the backbone")):
        series = [(name_of(run), *curve(run, key)) for run in chosen]
        series = [(name, x, y) for name, x, y in series if len(x) > 1]
        if series:
            ends = "; ".join(f"{name} from {y[0]:.3g} to {y[-1]:.3g}" for name, _, y in series)
            svg = plots.curves(series, label, f"curve {key}")
            figures.append(Plot(svg, f"The {label} over pre-training.", f"The {label} over pre-training: {ends}."))
    return Section("curves", "Training curves", "Curves", figures=tuple(figures)) if figures else None


def pictures_section(runs: Sequence[RunFolder]) -> Section | None:
    """Return validation images with true and predicted objects, of the first runs that kept such a picture."""
    images = []
    for run in runs:
        if run.record.kind == "detection" and len(images) < MAX_PICTURES and (data := picture(run)):
            ap = run.record.metrics.get("bbox", {}).get("AP")
            said = f"{name_of(run)}" + (f", box AP {ap:.1f}" if ap is not None else "")
            images.append(Photo(data, said, f"True objects beside predicted ones on validation images: {said}."))
    if not images:
        return None
    text = "True objects left, predictions right; best and worst images by AP."
    return Section("pictures", "Predictions", "Pictures", (text,), images=tuple(images))


def errors_section(runs: Sequence[RunFolder], annotations: Path | None) -> Section | None:
    """Return why AP differs, from saved detections: kinds of errors (TIDE), sizes of objects, and validation images."""
    if annotations is None:
        return None
    truth = read_ground_truth(annotations)
    saved = [run for run in runs if run.record.kind == "detection" and (run.path / PREDICTIONS).is_file()]
    found = [(run, read_predictions(run.path / PREDICTIONS)) for run in saved[:MAX_SCORED]]
    if not found:
        return None
    tasks = ["bbox", *(["segm"] if all(item.get("segmentation") for _, kept in found for item in kept) else [])]
    figures, grids = [], []
    for task in tasks:
        means = _mean_errors(truth, found, task)
        figures.append(_errors_figure(means, task))
        grids.append(_errors_grid(means, found, task))
    grids += [grid for grid in (_images_grid(truth, found, task) for task in tasks) if grid is not None]
    text = (
        "Kinds of errors say what a detector gets wrong; sizes say where. The intervals over validation images come "
        "from drawing the images anew: they are another uncertainty than that of seeds, and the two are not mixed."
    )
    return Section("errors", "Why AP differs", "Errors", (text,), tuple(figures), tables=tuple(grids))


def _mean_errors(truth: dict[str, Any], found: Sequence[Saved], task: str) -> dict[str, list[Errors]]:
    groups: dict[str, list[Errors]] = defaultdict(list)
    for run, predictions in found:
        groups[_setting(run)].append(errors(truth, predictions, task))
    return groups


def _setting(run: RunFolder) -> str:
    return name_of(run).rsplit(", seed", 1)[0]


def _cost(groups: dict[str, list[Errors]], label: str, kind: str) -> float:
    return sum(one.cost[kind] for one in groups[label]) / len(groups[label])


def _errors_figure(groups: dict[str, list[Errors]], task: str) -> Plot:
    named = [(label, {ERRORS[kind]: _cost(groups, label, kind) for kind in ERRORS}) for label in groups]
    name = TASK_NAMES[task]
    worst = "; ".join(f"{label}: most by {max(parts, key=lambda k: parts[k])}" for label, parts in named)
    svg = plots.stacked(named, f"points of {name} AP50", f"errors {task}")
    return Plot(svg, f"What each kind of error costs ({name}, TIDE at IoU 0.5).", f"Cost of kinds of errors. {worst}.")


def _errors_grid(groups: dict[str, list[Errors]], found: Sequence[Saved], task: str) -> Grid:
    name = TASK_NAMES[task]
    columns = [Column("setting"), Column("runs", True), *(Column(f"{kind}: {ERRORS[kind]}", True) for kind in ERRORS)]
    columns += [Column(f"{name} {size}", True) for size in SIZES]
    rows = []
    for label, kept in groups.items():
        cells = [Cell(label), Cell(str(len(kept)), len(kept))]
        for kind in ERRORS:
            cost = _cost(groups, label, kind)
            cells.append(Cell(f"{cost:.2f}", cost))
        records = [run.record for run, _ in found if _setting(run) == label]
        cells += [_mean_of(records, task, size) for size in SIZES]
        rows.append(Row(tuple(cells), label))
    caption = f"Points of {name} AP50 that mending one kind of error would gain, and AP of small, medium, large objects"
    return Grid(f"errors-{task}", caption, tuple(columns), tuple(rows))


def _mean_of(records: Sequence[RunRecord], task: str, metric: str) -> Cell:
    values = [value for r in records if (value := r.metrics.get(task, {}).get(metric)) is not None]
    return Cell(f"{sum(values) / len(values):.1f}", sum(values) / len(values)) if values else Cell("")


def _images_grid(truth: dict[str, Any], found: Sequence[Saved], task: str) -> Grid | None:
    """Return each run minus the untrained encoder's of the same seed and protocol, with intervals over images."""
    controls = {(run.record.protocol_hash, run.record.seed): kept for run, kept in found if _is_control(run)}
    rows = []
    for run, predictions in found:
        control = controls.get((run.record.protocol_hash, run.record.seed))
        if control is None or _is_control(run):
            continue
        made = difference_over_images(truth, control, predictions, task, resamples=RESAMPLES)
        cells = [Cell(f"{name_of(run)} − untrained encoder", records=(run.record.id,))]
        for metric in ("AP", "AP50", "AP75", *SIZES):
            one = made.get(metric)
            interval = "" if one is None else f"[{signed(one.low, 2)}, {signed(one.high, 2)}]"
            cells.append(Cell("") if one is None else Cell(signed(one.difference, 2), one.difference, note=interval))
        rows.append(Row(tuple(cells), _setting(run)))
    if not rows:
        return None
    name = TASK_NAMES[task]
    columns = [Column("run"), *(Column(f"{name} {metric}", True) for metric in ("AP", "AP50", "AP75", *SIZES))]
    note = f"Paired bootstrap over the validation images, {RESAMPLES} draws; 95 % intervals about these very runs."
    return Grid(f"images-{task}", f"Differences in {name} AP over images", tuple(columns), tuple(rows), note)


def _is_control(run: RunFolder) -> bool:
    return run.record.method == CONTROL
