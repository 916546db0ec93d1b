"""How a pre-training run ended: what is said to people and what the record keeps."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmark.core import provenance
from benchmark.core.files import sha256_of, sha256_of_file
from benchmark.core.folder import run_key
from benchmark.core.options import to_dict
from benchmark.records.record import RECORDS, RunRecord
from pretrain.engine.checkpoint import LAST, load_checkpoint
from pretrain.engine.metrics_log import METRICS, lines_until
from pretrain.engine.processes import is_main, say, world_size
from pretrain.training.hooks import RANK_DEFINITION
from pretrain.training.trainer import Diverged

if TYPE_CHECKING:
    from pretrain.training.job import Job


@dataclass(frozen=True)
class Result:
    """How a run ended: status, last logged values, seconds of all its parts, and details for the record."""

    status: str
    values: dict[str, float]
    seconds: float
    details: dict[str, Any]


def failed(error: Exception, seconds: float, found: dict[str, Any]) -> Result:
    """Return the result of a run that diverged or failed, with its reason; `found` is what the hooks saw."""
    details = {"reason": str(error), **found}
    if isinstance(error, Diverged):
        return Result("diverged", {}, seconds, {**details, "iteration": error.iteration, "lr_at_end": error.lr})
    return Result("failed", {}, seconds, details)


def last_values(output: Path) -> dict[str, float]:
    """Return the last line of metrics.json without its position, nothing when there is none."""
    lines = lines_until(output / METRICS, sys.maxsize)
    values = json.loads(lines[-1]) if lines else {}
    return {key: value for key, value in values.items() if key not in ("iteration", "epoch")}


def finish(job: "Job", result: Result, anew: bool = True) -> None:
    """Write the RunRecord on the main process; one that is there already stays unless `anew`."""
    config, folder, last = job.config, Path(job.config.records or RECORDS), job.output / LAST
    name = f"pretrain-{run_key(job.identity)}"
    if not is_main() or (not anew and (folder / f"{name}.json").is_file()):
        return
    card = torch.cuda.get_device_name(job.device) if job.device.type == "cuda" else None
    made = RunRecord(
        id=name,
        kind="pretrain",
        status=result.status,
        method=config.method,
        epochs=load_checkpoint(last)["epoch"] if last.is_file() else 0,
        total_epochs=config.epochs,
        weights_sha256=sha256_of_file(last) if last.is_file() else None,
        data="embedded" if config.data is None else Path(config.data).resolve().name,
        seed=config.seed,
        metrics={"pretrain": result.values},
        duration_seconds=result.seconds,
        hardware=provenance.hardware(job.device.type, card, world_size()),
        config_hash=sha256_of(to_dict(config)),
        config=to_dict(config),
        details={"images": len(job.paths), **result.details, "effective_rank_definition": RANK_DEFINITION},
    )
    say(f"record {made.write(folder)}")
