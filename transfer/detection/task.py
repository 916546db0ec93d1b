"""What a fine-tuning run works on, resolved and checked before anything is trained, and its plan for people."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.core.errors import UserError
from benchmark.core.folder import RESULTS, run_key
from benchmark.core.options import to_dict, to_yaml
from pretrain.engine.processes import world_size
from transfer.checkpoints.backbone import Backbone, Detector
from transfer.checkpoints.weights import resolve_detector, resolve_weights
from transfer.datasets.dataset import DetectionData, open_data
from transfer.detection.config import NOT_IDENTITY, DetectionConfig
from transfer.protocols.description import describe
from transfer.protocols.files import dump
from transfer.protocols.resolve import Protocol, resolve_protocol

DEFAULT_PROTOCOLS = {"coco": ("embedded", "coco-c4-1x"), "voc": ("embedded-voc", "voc-c4-24k")}  # without, with --data


@dataclass(frozen=True)
class Task:
    """What a run works on, resolved: config, initial weights, data, effective protocol, and who it is."""

    config: DetectionConfig
    initialisation: Backbone | Detector
    data: DetectionData
    protocol: Protocol
    device: torch.device
    identity: dict[str, Any]

    @property
    def method(self) -> str:
        """Name of the pre-training method: by the file's own account, else the file's name."""
        return self.initialisation.name(self.config.weights)

    @property
    def output(self) -> Path:
        """The folder of the run."""
        return Path(self.config.output or RESULTS / "runs" / f"{self.protocol.name}-{run_key(self.identity)}")


def prepare(kind: str, config: DetectionConfig, device: torch.device) -> Task:
    """Read and check the weights, the data and the protocol before anything is trained. Raises ``UserError``."""
    initialisation = find_weights(config)
    data = open_data(kind, config.data, fraction=config.fraction, seed=config.seed)
    protocol = resolve(kind, config, initialisation, data, device)
    return Task(config, initialisation, data, protocol, device, identity_of(config, initialisation, data, protocol))


def find_weights(config: DetectionConfig) -> Backbone | Detector:
    """Read what --weights names: initial weights, or with --eval-only a whole detector."""
    if config.eval_only:
        return resolve_detector(config.weights, trust=config.trust)
    found = resolve_weights(
        config.weights,
        branch=config.branch,
        layout=config.layout,
        trust=config.trust,
        seed=config.seed,
        method=config.method,
        epoch=config.epochs_stated,
    )
    if found.arch != "resnet50":
        raise UserError(f"{config.weights} holds a ResNet-18, and the detectors here are built on a ResNet-50.")
    return found


def resolve(
    kind: str,
    config: DetectionConfig,
    initialisation: Backbone | Detector,
    data: DetectionData,
    device: torch.device,
    lr: float | None = None,
) -> Protocol:
    """Return the effective protocol of a run; `lr` replaces the config's (a candidate of a sweep)."""
    return resolve_protocol(
        config.protocol or DEFAULT_PROTOCOLS[kind][config.data is not None],
        family=initialisation.family,
        convention=initialisation.convention,
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


def identity_of(
    config: DetectionConfig, initialisation: Backbone | Detector, data: DetectionData, protocol: Protocol
) -> dict[str, Any]:
    """Return what makes a run this run: settings, protocol, the bytes of weights and data, number of processes."""
    settings = {key: value for key, value in to_dict(config).items() if key not in NOT_IDENTITY}
    return {
        "script": data.task,
        "settings": settings,
        "weights": initialisation.sha256,
        "family": initialisation.family,
        "data": data.fingerprint,
        "protocol": protocol.name,
        "protocol_hash": protocol.hash,
        "lr": protocol.cfg.SOLVER.BASE_LR,
        "processes": world_size(),
    }


def plan(task: Task) -> str:
    """Return the plan of a run as text: resolved options, effective Detectron2 config, protocol, files, weights."""
    start, config = task.initialisation, task.config
    lines = [to_yaml(config).rstrip(), "", "# effective Detectron2 config", dump(task.protocol.cfg).rstrip(), ""]
    lines += [describe(task.protocol, task.data)]
    if config.sweep_lr:
        lines.append(
            f"sweep       the whole schedule once for each of {len(config.sweep_lr)} learning rates, on a hold-out"
        )
    epochs = "epochs not recorded" if start.epoch is None else f"{start.epoch} epochs"
    epochs += f" of {start.total_epochs}" if start.total_epochs else ""
    branch = f"{start.branch} branch, " if start.branch else ""
    lines += [
        f"weights     {config.weights}: {task.method}, {epochs}, {branch}sha256 {start.sha256[:12]}",
        "files       all there: " + ", ".join(str(path) for path in task.data.files),
        f"would write {task.output}",
    ]
    return "\n".join(lines)
