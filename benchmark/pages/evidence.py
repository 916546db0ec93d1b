"""Sections made from run folders: curves of training, kinds of errors, pictures of predictions."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmark.comparison.methods import METHOD_NAMES
from benchmark.detections.files import read_ground_truth, read_predictions
from benchmark.detections.reasons import ERRORS, Errors, errors
from benchmark.pages import plots
from benchmark.pages.runs import PREDICTIONS, RunFolder, curve, picture
from benchmark.pages.view import Cell, Column, Grid, Photo, Plot, Row, Section

MAX_CURVES, MAX_PICTURES, MAX_SCORED = 8, 6, 40


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
    """Return which kinds of errors cost AP50, averaged over the repeats of a setting (TIDE)."""
    if annotations is None:
        return None
    truth = read_ground_truth(annotations)
    groups: dict[str, list[Errors]] = defaultdict(list)
    scored = 0
    for run in runs:
        path = run.path / PREDICTIONS
        if run.record.kind == "detection" and path.is_file() and scored < MAX_SCORED:
            scored += 1
            label = name_of(run).rsplit(", seed", 1)[0]
            groups[label].append(errors(truth, read_predictions(path), "bbox"))
    if not groups:
        return None
    means = {
        label: {kind: sum(one.cost[kind] for one in found) / len(found) for kind in ERRORS}
        for label, found in groups.items()
    }
    columns = (Column("setting"), Column("runs", True), *(Column(f"{kind}: {ERRORS[kind]}", True) for kind in ERRORS))
    rows = []
    for label, costs in means.items():
        cells = [Cell(label), Cell(str(len(groups[label])), len(groups[label]))]
        cells += [Cell(f"{costs[kind]:.2f}", costs[kind]) for kind in ERRORS]
        rows.append(Row(tuple(cells), label))
    grid = Grid("errors-table", "Points of box AP50 that mending one kind of error would gain", columns, tuple(rows))
    named = [(label, {ERRORS[kind]: costs[kind] for kind in ERRORS}) for label, costs in means.items()]
    svg = plots.stacked(named, "points of AP50", "errors")
    worst = "; ".join(f"{label}: most by {max(parts, key=lambda k: parts[k])}" for label, parts in named)
    figure = Plot(svg, "What each kind of error costs (TIDE, IoU 0.5).", f"Cost of each kind of error. {worst}.")
    return Section("errors", "Why AP differs", "Errors", (), (figure,), tables=(grid,))
