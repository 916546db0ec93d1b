"""One probe in its claimed folder: features -> metrics -> record -> metrics.json, which completes it."""

import time
from pathlib import Path
from typing import Any

import torch

from benchmark.core import provenance
from benchmark.core.errors import RunFailed
from benchmark.core.files import sha256_of, write_json, write_text
from benchmark.core.folder import RESULTS, claim, run_key
from benchmark.core.options import to_dict, to_yaml
from benchmark.records import RECORDS, RunRecord
from pretrain.engine.processes import choose_device
from transfer.checkpoints.sources import record_of
from transfer.probing.config import ClassifyConfig
from transfer.probing.encoder import make_encoder
from transfer.probing.features import Features, LabelledImages, extract, read_features, write_features
from transfer.probing.measure import measure
from transfer.probing.task import ProbeTask, plan, prepare

PROTOCOL = "frozen_features"
METRICS = "metrics.json"


def probe(config: ClassifyConfig) -> None:
    """Probe as the options say, or print the plan. Raises ``UserError`` and ``RunFailed``."""
    device = choose_device(config.device)
    task = prepare(config)
    if config.dry_run:
        print(plan(task))
        return
    folder = claim(task.output, task.identity)
    try:
        if (task.output / METRICS).is_file():
            print(f"this run is complete already: {task.output / METRICS}")
            return
        write_text(task.output / "config.yaml", to_yaml(config))
        run(task, device)
    finally:
        folder.release()


def run(task: ProbeTask, device: torch.device) -> None:
    """Compute features, probe them, write metrics and record."""
    began = time.monotonic()
    details: dict[str, Any] = {"classes": task.classes, "arch": task.weights.arch, "test_split": task.test.name}
    details["optimizer"] = task.settings.optimizer_for(len(task.train.paths))
    try:
        train, test = (kept_features(task, images, device) for images in (task.train, task.test))
        details |= {"unreadable": train.unreadable + test.unreadable}
        metrics = measure(task, train, test, device)
    except RunFailed as error:
        record(task, "failed", {}, time.monotonic() - began, device, details | {"reason": str(error)})
        raise
    path = record(task, "completed", metrics, time.monotonic() - began, device, details)
    write_json(task.output / METRICS, metrics)
    print(f"{task.method}, epoch {task.weights.epoch}, on {task.data} ({len(test.labels)} test images):")
    for name, values in metrics.items():
        print(f"  {name:9}" + ", ".join(f"{key} {value:.4g}" for key, value in values.items()))
    print(f"record {path}")


def kept_features(task: ProbeTask, images: LabelledImages, device: torch.device) -> Features:
    """Return the features of one split, from the file of an earlier run with the same encoder and images if any."""
    config = task.config
    path = Path(config.features or RESULTS / "features") / f"{task.features_key}-{images.name}.safetensors"
    found = read_features(path)
    if found is None:
        found = extract(
            make_encoder(task.weights),
            images,
            size=config.size,
            batch=config.forward_batch,
            workers=config.workers,
            device=device,
            precision=config.precision,
        )
        write_features(path, found)
    return found


def record(
    task: ProbeTask,
    status: str,
    metrics: dict[str, dict[str, float]],
    seconds: float,
    device: torch.device,
    details: dict[str, Any],
) -> Path:
    """Write the RunRecord and return its path."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    config, weights = task.config, task.weights
    made = RunRecord(
        id=f"classification-{run_key(task.identity)}",
        kind="classification",
        status=status,
        method=task.method,
        epochs=weights.epoch,
        **record_of(weights),
        total_epochs=weights.total_epochs,
        branch=weights.branch,
        file_sha256=weights.sha256,
        protocol=PROTOCOL,
        protocol_hash=sha256_of(config.protocol()),
        data=task.data,
        seed=config.seed,
        metrics=metrics,
        duration_seconds=seconds,
        hardware=provenance.hardware(device.type, name),
        config_hash=sha256_of(to_dict(config)),
        config=to_dict(config),
        details={
            **details,
            "zoo": weights.zoo,
            "training_images": len(task.train.paths),
            "test_images": len(task.test.paths),
        },
    )
    return made.write(config.records or RECORDS)
