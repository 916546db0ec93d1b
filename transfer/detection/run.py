"""A fine-tuning run, resolved and checked before anything is trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.core.errors import UserError
from benchmark.core.folder import RESULTS, run_key
from benchmark.core.options import to_dict
from benchmark.records import RECORDS
from pretrain.engine.life import Run
from pretrain.engine.processes import world_size
from transfer.checkpoints.backbone import Backbone, Detector
from transfer.checkpoints.weights import DETECTRON2_RANDOM, RANDOM, resolve_detector, resolve_weights
from transfer.datasets.data import DetectionData
from transfer.datasets.dataset import open_data
from transfer.detection.config import NOT_IDENTITY, DetectionConfig
from transfer.detection.model import check_fits
from transfer.protocols.resolve import Protocol, resolve_protocol

DEFAULT_PROTOCOLS = {"coco": ("embedded", "coco-c4-1x"), "voc": ("embedded-voc", "voc-c4-24k")}  # without, with --data


@dataclass(frozen=True)
class Subject:
    """What a run works on: the weights it starts from (or the whole detector), data, effective protocol, method."""

    weights: Backbone | Detector
    data: DetectionData
    protocol: Protocol
    method: str


MEMORY = "give a smaller --ims-per-batch, more processes, or --precision bf16"
DetectionRun = Run[DetectionConfig, Subject]


def prepare(kind: str, config: DetectionConfig, device: torch.device) -> DetectionRun:
    """Read and check weights, data and protocol, and that they suit each other; nothing is written.

    Args:
        kind: ``coco`` or ``voc``.  device: of this process.

    Raises:
        UserError: anything wrong with them, in one sentence.
    """
    weights = find_weights(config)
    data = find_data(kind, config, weights)
    protocol = resolve(kind, config, weights, data, device)
    check_fits(protocol.cfg, weights, config.weights)
    subject = Subject(weights, data, protocol, weights.name(config.weights))
    identity = identity_of(config, subject)
    key = run_key(identity)
    output = Path(config.output or RESULTS / "runs" / f"{protocol.name}-{key}")
    records = None if config.eval_only and not config.record else Path(config.records or RECORDS)
    return Run(f"{kind}-{key}", "detection", config, subject, identity, output, records, device, config.resume, MEMORY)


def find_data(kind: str, config: DetectionConfig, weights: Backbone | Detector) -> DetectionData:
    """Read and check the data; with --eval-only the test split alone, with the classes that the detector states."""
    if isinstance(weights, Backbone):
        return open_data(kind, config.data, fraction=config.fraction, seed=config.seed)
    classes = weights.checkpoint.get("class_names")
    usable = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    return open_data(kind, config.data, test_only=True, classes=classes if usable else ())


def find_weights(config: DetectionConfig) -> Backbone | Detector:
    """Read what --weights names: initial weights, or with --eval-only a whole detector."""
    if config.eval_only:
        return resolve_detector(config.weights, trust=config.trust)
    if config.weights in (RANDOM, DETECTRON2_RANDOM) and (config.method, config.epochs_stated) != (None, None):
        raise UserError(f"--method and --epochs-stated are for files; --weights {config.weights} is known already.")
    return resolve_weights(
        config.weights,
        branch=config.branch,
        layout=config.layout,
        trust=config.trust,
        seed=config.seed,
        method=config.method,
        epoch=config.epochs_stated,
    )


def resolve(
    kind: str,
    config: DetectionConfig,
    weights: Backbone | Detector,
    data: DetectionData,
    device: torch.device,
    lr: float | None = None,
) -> Protocol:
    """Return the effective protocol of a run; `lr` replaces the config's (a candidate of a sweep)."""
    return resolve_protocol(
        config.protocol or DEFAULT_PROTOCOLS[kind][config.data is not None],
        family=weights.family,
        convention=weights.convention,
        arch=weights.arch,
        world_size=world_size(),
        device=device.type,
        ims_per_batch=config.ims_per_batch,
        lr=lr or config.lr,
        precision=config.precision,
        data=data,
        overrides=config.overrides,
        seed=config.seed,
        workers=config.workers,
    )


def identity_of(config: DetectionConfig, subject: Subject) -> dict[str, Any]:
    """Return what makes a run this run: settings, protocol, the bytes of weights and data, number of processes."""
    settings = {key: value for key, value in to_dict(config).items() if key not in NOT_IDENTITY}
    return {
        "script": subject.data.task,
        "settings": settings,
        "weights": subject.weights.sha256,
        "family": subject.weights.family,
        "data": subject.data.fingerprint,
        "protocol": subject.protocol.name,
        "protocol_hash": subject.protocol.hash,
        "lr": subject.protocol.cfg.SOLVER.BASE_LR,
        "processes": world_size(),
    }
