"""What a fine-tuning run found, for people and for the table: the summary on the screen and the RunRecord."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.core import provenance
from benchmark.core.errors import RunFailed
from benchmark.core.files import sha256_of
from benchmark.core.folder import run_key
from benchmark.core.options import to_dict
from benchmark.records import RECORDS, RunRecord
from pretrain.engine.processes import is_main, world_size
from transfer.checkpoints.sources import record_of
from transfer.detection.task import Task


@dataclass(frozen=True)
class Outcome:
    """What a run found: metrics by task, wall seconds of all parts, and details for the record."""

    metrics: dict[str, dict[str, float | None]]
    seconds: float
    details: dict[str, Any]


class DetectionDiverged(RunFailed):
    """A loss or a weight is no longer a number, on every process alike; see ``Outcome`` for seconds and details."""

    def __init__(self, reason: str, seconds: float = 0.0, **details: Any):
        super().__init__(reason)
        self.seconds, self.details = seconds, details


def summary(task: Task, metrics: dict[str, dict[str, float | None]]) -> str:
    """Return AP, AP50 and AP75 of box and mask as one line a task; what is missing is a dash."""
    lines = [f"{task.method} on {task.data.name}, {task.protocol.name}:"]
    for name, values in metrics.items():
        shown = [
            f"{key} {'-' if values.get(key) is None else format(values[key], '.2f')}" for key in ("AP", "AP50", "AP75")
        ]
        lines.append(f"  {name:5}" + ", ".join(shown))
    return "\n".join(lines)


def record(
    task: Task, status: str, metrics: dict[str, dict[str, float | None]], found: Any, grid: dict[str, Any]
) -> Path | None:
    """Write the RunRecord and return its path; `found` is an Outcome or the error.

    What all processes know is written by the main one. A failure of one process is written by that one.
    """
    shared = not isinstance(found, RunFailed) or isinstance(found, DetectionDiverged)
    if shared and not is_main():
        return None
    config, start, cfg = task.config, task.initialisation, task.protocol.cfg
    details = {
        **getattr(found, "details", {}),
        "family": start.family,
        "layout": start.layout,
        "lr": cfg.SOLVER.BASE_LR,
        "lr_chosen_by": task.protocol.lr_chosen_by,
        "norm": task.protocol.norm,
        "ims_per_batch": cfg.SOLVER.IMS_PER_BATCH,
        "arithmetic": list(task.protocol.arithmetic),
        "max_iter": cfg.SOLVER.MAX_ITER,
        "epochs_over_data": cfg.SOLVER.MAX_ITER * cfg.SOLVER.IMS_PER_BATCH / task.data.train_images,
        "precision": "bf16" if cfg.SOLVER.AMP.ENABLED else "fp32",
        "evaluator": config.evaluator,
        "train_images": task.data.train_images,
        "test_images": task.data.test_images,
        "data_fingerprint": task.data.fingerprint,
        "fraction": task.data.fraction,
    }
    if start.zoo is not None:
        details["zoo"] = start.zoo
    if task.data.image_ids is not None:
        details["image_ids"] = list(task.data.image_ids)
    if grid:
        details["sweep"] = grid
    if isinstance(found, RunFailed):
        details["reason"] = str(found)
    made = RunRecord(
        id=f"{task.data.task}-{run_key(task.identity)}",
        kind="detection",
        status=status,
        method=task.method,
        epochs=start.epoch,
        **record_of(start),
        total_epochs=start.total_epochs,
        branch=start.branch,
        file_sha256=start.sha256,
        protocol=task.protocol.name,
        protocol_hash=task.protocol.hash,
        data=task.data.name,
        overrides=task.protocol.overrides,
        seed=config.seed,
        metrics=metrics,
        duration_seconds=getattr(found, "seconds", 0.0),
        hardware=_hardware(task.device),
        config_hash=sha256_of(to_dict(config)),
        config=to_dict(config),
        details=details,
    )
    return made.write(config.records or RECORDS)


def _hardware(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return provenance.hardware(device.type, name, world_size())
