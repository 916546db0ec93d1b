"""Scoring the saved detections of a recorded run again, and comparing with the average precision that it states."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.audit.submission import Finding
from benchmark.core.errors import UserError
from benchmark.detections.files import read_ground_truth, read_predictions
from benchmark.detections.scoring import SHAPES, score
from benchmark.records import RunRecord
from benchmark.records.folders import record_id_of

TOLERANCE = 0.01  # points of AP: detections are saved with their boxes and scores rounded to float32
COMPARED = ("AP", "AP50", "AP75")
PREDICTIONS = "predictions.json"


def rescore(record: RunRecord, predictions: Path, annotations: Path) -> list[Finding]:
    """Return a finding for each stated figure that the saved detections do not give."""
    try:
        found: list[dict[str, Any]] = read_predictions(predictions)
        truth = read_ground_truth(annotations)
    except UserError as error:
        return [Finding(record.id, str(error))]
    findings = []
    for task in SHAPES:
        stated = record.metrics.get(task)
        if not stated:
            continue
        if task == "segm" and any("segmentation" not in item for item in found):
            findings.append(Finding(record.id, "mask AP is stated, but the saved detections have no masks to score"))
            continue
        findings += _compare(record.id, task, stated, score(truth, found, task))
    return findings


def _compare(name: str, task: str, stated: dict[str, Any], scored: dict[str, float | None]) -> list[Finding]:
    findings = []
    for metric in COMPARED:
        one, other = stated.get(metric), scored.get(metric)
        if one is None and other is None:
            continue
        if one is None or other is None or abs(one - other) > TOLERANCE:
            said = "nothing" if one is None else f"{one:.3f}"
            given = "nothing" if other is None else f"{other:.3f}"
            findings.append(Finding(name, f"{task} {metric} is stated as {said}, and its detections score {given}"))
    return findings


def rescore_all(records: Sequence[RunRecord], runs: Path | None, annotations: Path | None) -> tuple[int, list[Finding]]:
    """Score again every record whose detections are at hand; return how many were scored, and the findings.

    Without `annotations` nothing is scored; the command prints how many were.
    """
    folders = run_folders(runs, records) if runs is not None else {}
    scored, findings = 0, []
    for record in records:
        folder = folders.get(record.id)
        if record.kind != "detection" or record.status != "completed" or folder is None:
            continue
        saved = folder / PREDICTIONS
        if not saved.is_file():
            findings.append(
                Finding(record.id, f"its folder {folder.name} has no {PREDICTIONS}, so nobody can score it")
            )
        elif annotations is not None:
            scored += 1
            findings += rescore(record, saved, annotations)
    return scored, findings


def run_folders(runs: Path, records: Sequence[RunRecord]) -> dict[str, Path]:
    """Return the run folders below `runs` by the id of the record that belongs to each."""
    if not runs.is_dir():
        raise UserError(f"there is no folder {runs}; give the folder that holds the folders of the runs.")
    ids = [record.id for record in records]
    found = {record_id_of(path, ids): path for path in sorted(runs.iterdir()) if path.is_dir()}
    return {name: path for name, path in found.items() if name is not None}
