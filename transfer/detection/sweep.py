"""Choosing the learning rate on a hold-out of the training images: every candidate trains the whole schedule.

The test split is never looked at. The grid with every candidate's result goes into the record.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmark.core.errors import RunFailed
from benchmark.core.files import write_json
from pretrain.engine.account import Account
from pretrain.engine.failures import Diverged
from pretrain.engine.processes import from_main, is_main, say
from transfer.datasets.dataset import open_data
from transfer.detection.result import RESULT, Metrics, read_results
from transfer.detection.run import DetectionRun, resolve

HOLDOUT = 0.1  # share of the training images
Train = Callable[[DetectionRun, Account, bool], Metrics]


class NoLearningRate(Diverged):
    """Every candidate of a sweep has diverged, on every process alike."""

    def __init__(self, tried: list[str]):
        RunFailed.__init__(self, f"no learning rate of the sweep gave a result ({', '.join(tried)}); try lower ones")
        self.iteration = self.lr = None


def sweep(run: DetectionRun, account: Account, train: Train) -> tuple[float, dict[str, Any]]:
    """Train and evaluate every candidate; return the chosen learning rate and the grid for the record.

    Candidates are kept in ``sweep/lr-<lr>`` of the run's folder, so an interrupted sweep continues. Best is the
    highest box AP on the hold-out; one that diverged cannot be chosen.

    Args:
        run: of the whole sweep.  account: of the run; seconds of candidates count for it.
        train: trains and evaluates a candidate in its folder; the last argument says whether to draw a picture.

    Raises:
        NoLearningRate: every candidate diverged; the account's details hold the grid.
    """
    config, subject = run.config, run.subject
    data = open_data(subject.data.task, config.data, fraction=config.fraction, seed=config.seed, holdout=HOLDOUT)
    held_out = replace(run, subject=replace(subject, data=data))
    results = {lr: _candidate(held_out, lr, train) for lr in config.sweep_lr}
    scores = {lr: found for lr, found in results.items() if isinstance(found, float)}
    grid = {
        "candidates": {f"{lr:g}": found for lr, found in results.items()},
        "metric": "bbox AP on the hold-out",
        "holdout_images": data.test_images,
        "holdout_share": HOLDOUT,
    }
    if not scores:
        account.details["sweep"] = grid
        raise NoLearningRate(list(grid["candidates"]))
    return max(scores, key=lambda lr: scores[lr]), grid


def _candidate(run: DetectionRun, lr: float, train: Train) -> float | str:
    """Return a candidate's box AP on the hold-out, or why it has none."""
    folder, subject = run.output / "sweep" / f"lr-{lr:g}", run.subject
    done = from_main(lambda: read_results(folder))
    if done is None:
        say(f"sweep: lr {lr:g}")
        protocol = resolve(subject.data.task, run.config, subject.weights, subject.data, run.device, lr)
        identity = {**run.identity, "candidate": lr}
        candidate = replace(run, subject=replace(subject, protocol=protocol), output=folder, identity=identity)
        try:
            done = train(candidate, Account(), False)
        except Diverged as error:
            done = {"diverged": {"iteration": float(error.iteration)}}
        if is_main():
            write_json(folder / RESULT, done)
        done = from_main(lambda: done)  # the metrics are known to the main process alone
    if "diverged" in done:
        return "diverged"
    score = done["bbox"]["AP"]
    return "no objects in the hold-out" if score is None else float(score)
