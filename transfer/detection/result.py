"""The files that a fine-tuning run leaves beside its log: the detector, and its results."""

import json
from pathlib import Path

from torch import nn

from benchmark.core.errors import UserError
from pretrain.engine.archive import Damaged, load_archive, save_archive
from pretrain.engine.processes import say
from transfer.checkpoints.detectron2_form import AUTHOR
from transfer.detection.recording import of_the_run
from transfer.detection.run import DetectionRun

RESULT, DETECTOR, PREDICTIONS, PICTURE = "results.json", "model_final.pth", "predictions.json", "predictions.png"

Metrics = dict[str, dict[str, float | None]]


def save_detector(run: DetectionRun, model: nn.Module, path: Path) -> None:
    """Write the whole detector in Detectron2's format, with where its initial weights came from and who trained it."""
    start = run.subject.weights
    source = {"family": start.family, "method": run.subject.method, "epoch": start.epoch}
    source |= {"total_epochs": start.total_epochs, "branch": start.branch, "layout": start.layout}
    source |= {"sha256": start.sha256}
    content = {"model": model.state_dict(), "__author__": AUTHOR, "detector": source}
    content |= {"protocol": run.subject.protocol.name, "run": of_the_run(run)}
    content |= {"class_names": list(run.subject.data.class_names)}
    save_archive(path, content)


def usable_detector(path: Path) -> bool:
    """Say whether a saved detector is there and whole; one that is damaged is warned of, and will be made again."""
    if not path.is_file():
        return False
    try:
        load_archive(path)["model"]
    except (Damaged, KeyError, TypeError) as error:
        say(f"warning: {path} is damaged ({' '.join(str(error).split())}); it is made again from the last checkpoint.")
        return False
    return True


def load_detector(model: nn.Module, path: Path) -> None:
    """Load the file that ``save_detector`` wrote, on every process."""
    model.load_state_dict(load_archive(path)["model"])


def read_results(folder: Path) -> Metrics | None:
    """Return the metrics of a complete run in `folder`, or None. Raises ``UserError`` for a damaged file."""
    path = folder / RESULT
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); remove it, and the same command evaluates again.") from None
    if not isinstance(found, dict) or not all(isinstance(values, dict) for values in found.values()):
        raise UserError(f"{path} holds no results; remove it, and the same command evaluates again.")
    return found
