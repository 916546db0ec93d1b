"""Choosing the learning rate on a hold-out of the training images: every candidate trains the whole schedule.

The test split is never looked at. The grid with every candidate's result goes into the record (pitfall 22).
"""

from dataclasses import replace
from typing import Any

from benchmark.core.files import write_json
from pretrain.engine.processes import is_main, say, wait_for_all
from transfer.datasets.dataset import open_data
from transfer.detection.finetune import RESULT, read_results, run
from transfer.detection.recording import DetectionDiverged
from transfer.detection.task import Task, resolve

HOLDOUT = 0.1  # share of the training images


def sweep(task: Task) -> tuple[float, dict[str, Any]]:
    """Train and evaluate every candidate; return the chosen learning rate and the grid for the record.

    Candidates are kept in ``sweep/lr-<lr>`` of the run's folder, so an interrupted sweep continues. Best is the
    highest box AP on the hold-out; one that diverged cannot be chosen.

    Raises:
        DetectionDiverged: every candidate diverged; its details hold the grid.
    """
    config = task.config
    data = open_data(task.data.task, config.data, fraction=config.fraction, seed=config.seed, holdout=HOLDOUT)
    results = {lr: _candidate(replace(task, data=data), lr) for lr in config.sweep_lr}
    scores = {lr: found for lr, found in results.items() if isinstance(found, float)}
    grid = {
        "candidates": {f"{lr:g}": found for lr, found in results.items()},
        "metric": "bbox AP on the hold-out",
        "holdout_images": data.test_images,
        "holdout_share": HOLDOUT,
    }
    if not scores:
        tried = ", ".join(grid["candidates"])
        raise DetectionDiverged(f"no learning rate of the sweep gave a result ({tried}); try lower ones", sweep=grid)
    return max(scores, key=lambda lr: scores[lr]), grid


def _candidate(task: Task, lr: float) -> float | str:
    """Return a candidate's box AP on the hold-out, or why it has none."""
    folder = task.output / "sweep" / f"lr-{lr:g}"
    done = read_results(folder)
    if done is None:
        say(f"sweep: lr {lr:g}")
        protocol = resolve(task.data.task, task.config, task.initialisation, task.data, task.device, lr)
        try:
            done = run(replace(task, protocol=protocol), folder, picture=False).metrics
        except DetectionDiverged as error:
            done = {"diverged": {"iteration": float(error.details["iteration"])}}
        if is_main():
            write_json(folder / RESULT, done)
        wait_for_all()
        done = read_results(folder)
    assert done is not None  # just written
    if "diverged" in done:
        return "diverged"
    score = done["bbox"]["AP"]
    return "no objects in the hold-out" if score is None else float(score)
