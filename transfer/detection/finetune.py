"""Training and evaluating one detector in a folder, from its checkpoint or the start.

train -> PreciseBN -> save the detector -> evaluate the saved file -> predictions and picture.
"""

import json
from pathlib import Path

import torch
from torch import nn

from benchmark.core.files import write_json, write_text
from benchmark.core.options import to_yaml
from pretrain.engine.failures import Diverged
from pretrain.engine.processes import from_main, is_main, say, wait_for_all
from transfer.checkpoints.detectron2_form import AUTHOR
from transfer.detection.hooks import Checkpoints, FiniteWeights, Metrics, Progress
from transfer.detection.model import build_detector, load_weights, norm_kinds
from transfer.detection.recording import DetectionDiverged, Outcome
from transfer.detection.task import Task
from transfer.detection.trainer import LAST, DetectionTrainer, write_tensors
from transfer.evaluation.picture import draw_predictions
from transfer.evaluation.run import run_evaluation
from transfer.protocols.description import describe
from transfer.protocols.files import dump

RESULT, DETECTOR, PREDICTIONS, PICTURE = "results.json", "model_final.pth", "predictions.json", "predictions.png"


def run(task: Task, folder: Path, picture: bool = True) -> Outcome:
    """Train in `folder` from its checkpoint or the start, then evaluate the saved detector.

    Raises ``DetectionDiverged``; ``RunFailed`` for images that cannot be read and for weights that did not arrive.
    """
    cfg = task.protocol.cfg
    write_settings(task, folder)
    model, proven = build(task)
    trainer = DetectionTrainer(cfg, model, task.config.seed)
    details = {"norms": norm_kinds(model), "backbone_tensors_proven": proven}
    start, seconds_before = restore(trainer, folder)
    announce(task, trainer, start)
    checkpoints = register_hooks(task, trainer, folder, seconds_before)
    try:
        if start < trainer.max_iter:
            trainer.train(start, trainer.max_iter)
    except Diverged as error:
        where = {"iteration": error.iteration, "lr_at_end": error.lr}
        raise DetectionDiverged(str(error), checkpoints.seconds, **details, **where) from None
    metrics = finish(task, trainer, folder, picture)
    return Outcome(metrics, checkpoints.seconds, details | {"iterations": trainer.max_iter})


def write_settings(task: Task, folder: Path) -> None:
    """Write the options and the effective Detectron2 config beside the outputs, on the main process."""
    if is_main():
        write_text(folder / "config.yaml", to_yaml(task.config))
        write_text(folder / "detectron2.yaml", dump(task.protocol.cfg))


def build(task: Task) -> tuple[nn.Module, int]:
    """Return the detector with its initial weights, heads drawn from --seed, and the number of tensors proven."""
    torch.manual_seed(task.config.seed)
    model = build_detector(task.protocol.cfg)
    checkpoint = task.initialisation.checkpoint
    proven = 0 if checkpoint is None else load_weights(model, checkpoint)
    return model, proven


def restore(trainer: DetectionTrainer, folder: Path) -> tuple[int, float]:
    """Load the folder's checkpoint if there is one; return the iteration to go on with and the seconds spent."""
    there = from_main(lambda: (folder / LAST).is_file())
    return trainer.load(folder / LAST) if there else (0, 0.0)


def register_hooks(task: Task, trainer: DetectionTrainer, folder: Path, seconds_before: float) -> Checkpoints:
    """Register log, progress bar and checkpoints on the main process; return the last, which counts the time."""
    every = task.config.checkpoint_every
    checkpoints = Checkpoints(folder, every, seconds_before)
    trainer.register_hooks([FiniteWeights(every)])
    if is_main():
        what = f"{task.protocol.name} from {task.method}"
        trainer.register_hooks([Metrics(folder, task.config.log_every), Progress(what), checkpoints])
    return checkpoints


def announce(task: Task, trainer: DetectionTrainer, start: int) -> None:
    """Say what will run, on the main process."""
    say(describe(task.protocol, task.data))
    if start:
        say(f"continuing at iteration {start} of {trainer.max_iter}")


def finish(task: Task, trainer: DetectionTrainer, folder: Path, picture: bool) -> dict[str, dict[str, float | None]]:
    """Save the detector, evaluate the saved file, write predictions and picture; return the metrics (rank 0)."""
    cfg = trainer.cfg
    # One process decides for all: another might look when the file has just been written.
    if not from_main(lambda: (folder / DETECTOR).is_file()):
        if cfg.TEST.PRECISE_BN.ENABLED:
            trainer.compute_precise_statistics(cfg.TEST.PRECISE_BN.NUM_ITER)
        if is_main():
            save_detector(task, trainer.model, folder / DETECTOR)
    wait_for_all()
    load_detector(trainer.model, folder / DETECTOR)
    metrics, predictions = run_evaluation(trainer.model, cfg, task.data, task.config.evaluator)
    if is_main():
        write_json(folder / PREDICTIONS, predictions)
        if picture:
            draw_predictions(folder / PICTURE, cfg, task.data, predictions, seed=task.config.seed)
    return metrics


def save_detector(task: Task, model: nn.Module, path: Path) -> None:
    """Write the whole detector in Detectron2's format, with where its initial weights came from."""
    start = task.initialisation
    source = {"family": start.family, "method": task.method, "epoch": start.epoch, "total_epochs": start.total_epochs}
    source |= {"branch": start.branch, "layout": start.layout, "sha256": start.sha256}
    content = {"model": model.state_dict(), "__author__": AUTHOR, "detector": source, "protocol": task.protocol.name}
    write_tensors(path, content)


def load_detector(model: nn.Module, path: Path) -> None:
    """Load the file that ``save_detector`` wrote, on every process."""
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["model"])


def read_results(folder: Path) -> dict[str, dict[str, float | None]] | None:
    """Return the metrics of a complete run in `folder`, or None."""
    path = folder / RESULT
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
