"""The two types of a run's life: the run as it is resolved before it begins, and how it ended."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

Config = TypeVar("Config")
Subject = TypeVar("Subject")
Metrics = dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Run(Generic[Config, Subject]):
    """A run, resolved.

    Attributes:
        id: of its record, and the record's file name.  kind: of its record: pretrain, detection or classification.
        config: the command's options, a frozen dataclass with a ``seed``.
        subject: what the command works on: images, weights, data, protocol.
        identity: everything that changes the result, as JSON can hold it; equal identity means the same run.
        output: folder of the run.  records: folder of records; None for a run that leaves no record.
        device: of this process.  resume: whether a folder that already holds this run is continued or refused.
        less_memory: what to do when memory does not suffice, as an advice.
    """

    id: str
    kind: str
    config: Config
    subject: Subject
    identity: dict[str, Any]
    output: Path
    records: Path | None
    device: torch.device
    resume: bool = True
    less_memory: str = "give smaller batches"


@dataclass(frozen=True)
class Outcome:
    """How a run ended, as its record tells it.

    Attributes:
        status: completed, diverged or failed.  metrics: by task, of a completed run.
        seconds: wall time of all parts of the run.  details: findings, and the reason where it did not complete.
    """

    status: str
    seconds: float
    metrics: Metrics = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
