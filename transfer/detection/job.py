"""One fine-tuning run in its claimed folder: [sweep the lr] -> run -> record -> results.json, which completes it."""

from dataclasses import replace
from typing import Any

from benchmark.core.errors import RunFailed, UserError
from benchmark.core.files import write_json
from pretrain.engine.processes import claim_on_main, from_main, is_main, say, wait_for_all
from transfer.detection.finetune import DETECTOR, PICTURE, PREDICTIONS, RESULT, run, write_settings
from transfer.detection.model import build_detector, load_whole_detector
from transfer.detection.recording import DetectionDiverged, record, summary
from transfer.detection.sweep import sweep
from transfer.detection.task import Task, resolve
from transfer.evaluation.picture import draw_predictions
from transfer.evaluation.run import run_evaluation


def fine_tune(task: Task) -> None:
    """Train, evaluate and record one run, continuing what its folder holds."""
    same_everywhere(task)
    folder = claim_on_main(task.output, task.identity, task.config.resume)
    if from_main(lambda: (task.output / RESULT).is_file()):
        say(f"this run is complete already: {task.output / RESULT}")
        return
    if task.config.data is None:
        say("no --data given: fine-tuning on the embedded photographs, which says nothing about COCO")
    grid: dict[str, Any] = {}
    try:
        if task.config.sweep_lr:
            task, grid = with_best_lr(task)
        found = run(task, task.output)
    except DetectionDiverged as error:
        record(task, "diverged", {}, error, grid)
        wait_for_all()  # a process that leaves early makes torchrun end the one that writes
        if not is_main():
            raise SystemExit(1) from None
        raise RunFailed(f"{error}; the last good checkpoint, if any, is in {task.output}.") from None
    except RunFailed as error:  # of one process alone
        record(task, "failed", {}, error, grid)
        raise
    path = record(task, "completed", found.metrics, found, grid)
    if is_main():
        write_json(task.output / RESULT, found.metrics)
        say(summary(task, found.metrics))
        say(f"record {path}\npicture {task.output / PICTURE}\ndetector {task.output / DETECTOR}")
    if folder is not None:
        folder.release()


def same_everywhere(task: Task) -> None:
    """Raise ``UserError`` on a process that has other weights, data or settings than the main one."""
    wanted = from_main(lambda: task.identity)
    if task.identity != wanted:
        differing = ", ".join(key for key in wanted if task.identity.get(key) != wanted[key])
        raise UserError(f"this machine has other {differing} than the first one; give all machines the same files.")


def with_best_lr(task: Task) -> tuple[Task, dict[str, Any]]:
    """Sweep the learning rate; return the task with the best one, and the grid for the record."""
    chosen, grid = sweep(task)
    protocol = resolve(task.data.task, task.config, task.initialisation, task.data, task.device, chosen)
    return replace(task, protocol=replace(protocol, lr_chosen_by="sweep")), grid


def evaluate_only(task: Task) -> None:
    """Evaluate the detector that --weights names; write its results, predictions and picture, but no record.

    A record would count as one more repeat of the run that trained the detector.
    """
    model = build_detector(task.protocol.cfg)
    load_whole_detector(model, task.initialisation.checkpoint, task.config.weights)
    folder = claim_on_main(task.output, task.identity, task.config.resume)
    write_settings(task, task.output)
    metrics, predictions = run_evaluation(model, task.protocol.cfg, task.data, task.config.evaluator)
    if is_main():
        write_json(task.output / PREDICTIONS, predictions)
        draw_predictions(task.output / PICTURE, task.protocol.cfg, task.data, predictions, seed=task.config.seed)
        write_json(task.output / RESULT, metrics)
        say(summary(task, metrics))
        say(f"results {task.output / RESULT}\npicture {task.output / PICTURE}")
    if folder is not None:
        folder.release()
