"""RunRecord: the one schema that every run writes and the only thing, beside published.csv, that a report reads.

The schema is strict: a field has one kind of value, an unknown field is refused, and what is absent is null, never 0
or -1. ``docs/record.schema.json`` is the same schema for other programs. Records of version 1 stay readable
(``content.py``).
"""

import math
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from benchmark.core import provenance
from benchmark.core.errors import UserError
from benchmark.core.files import write_json
from benchmark.core.folder import RESULTS
from benchmark.records.content import SCHEMA_VERSION, problem_of, read_content

RECORDS = RESULTS / "records"

Kind = Literal["pretrain", "detection", "classification", "imported"]
Status = Literal["completed", "diverged", "failed"]
Source = Literal["file", "zoo", "stated"]  # how something about the weights is known: see RunRecord
MAX_NUMBER = 1e100  # of a metric: squares of much larger ones are no longer numbers
PERCENT_TASKS = ("bbox", "segm", "keypoints")
_NUMBERS_OF_DETAILS = ("lr", "lr_at_end", "iteration", "fraction")


def _file_name(text: Any) -> Any:
    """Refuse an id that cannot be the name of a file in the folder of records."""
    if isinstance(text, str) and (not text or "/" in text or "\\" in text or "\0" in text or text[0] == "."):
        raise ValueError("it cannot be the name of a file")
    return text


def _number(value: Any) -> Any:
    """Refuse what is not a number that a table can hold; pydantic's strict float lets a bool pass as 1.0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("it is not a number, and a missing value is null")
    if not (math.isfinite(value) and abs(value) <= MAX_NUMBER):
        raise ValueError("it is not a finite number of usual size, and a missing value is null")
    return float(value)


def _figures(values: Any) -> Any:
    """Refuse figures that a table cannot hold; one call for all, because 10,000 records have 1.7 million of them."""
    if isinstance(values, dict):
        for name, value in values.items():
            if value is not None and not (type(value) is float and -MAX_NUMBER <= value <= MAX_NUMBER):
                try:
                    _number(value)
                except ValueError as error:
                    raise ValueError(f"{str(name)[:80]}: {error}") from None
    return values


Name = Annotated[str, Field(min_length=1, max_length=300)]
Hash = Annotated[str, Field(max_length=128)]
Epochs = Annotated[int, Field(ge=0, le=10**9)]
Figures = Annotated[dict[Name, float | None], BeforeValidator(_figures)]
Seconds = Annotated[float, BeforeValidator(_number), Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**64)]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class RunRecord(BaseModel):
    """What one run was and what it gave. What is absent is None, never 0 or -1.

    ``method_source`` and ``epochs_source`` say how method and epochs of the weights are known: ``file`` (the
    checkpoint's own account), ``zoo`` (the catalogue of published checkpoints, by the file's hash), ``stated`` (by the
    person who started the run); null in records of version 1 and where there is nothing to know.

    Raises ``pydantic.ValidationError``, a ``ValueError``, for a value that a field cannot have.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)

    id: Annotated[str, Field(min_length=1, max_length=200), BeforeValidator(_file_name)]
    """Unique name of the run; also the file's name, ``<id>.json``."""
    kind: Kind
    """What was run; ``imported`` is somebody else's run, read from its log."""
    status: Status
    """``diverged``: ``details`` has iteration and lr; ``failed``: ``details`` has the reason."""
    method: Name
    """Pre-training method of the weights, ``kernel_ssl`` say, or the family (``random``, ``detectron2-random``)."""
    seed: Seed | None
    """Seed of this run (null only where ``kind`` is ``imported``). Detectron2 does not promise equal results for equal
    seeds."""
    metrics: dict[Name, Figures]
    """``{task: {metric: value}}`` with task bbox, segm, pretrain, linear ...; AP and accuracies in percent."""
    duration_seconds: Seconds | None
    """Wall time in seconds, all resumed parts together (null only where ``kind`` is ``imported``)."""
    method_source: Source | None = None
    """How ``method`` is known."""
    epochs: Epochs | None = None
    """Epochs of pre-training that the weights have had; 0 for untrained ones, null where nobody knows."""
    epochs_source: Source | None = None
    """How ``epochs`` is known."""
    total_epochs: Epochs | None = None
    """Epochs that the pre-training's schedule was made for."""
    branch: Literal["online", "momentum"] | None = None
    """Which encoder of the checkpoint; null where there is one only."""
    weights_sha256: Hash | None = None
    """SHA-256 of the backbone's tensors, which two equal runs share."""
    file_sha256: Hash | None = None
    """SHA-256 of the weights' file, by which the catalogue knows published checkpoints."""
    pretrain_seed: Seed | None = None
    """Seed of the pre-training that made the weights; null where nobody knows."""
    protocol: Name | None = None
    """Name of the protocol, such as ``coco-c4-1x``."""
    protocol_hash: Hash | None = None
    """SHA-256 of the protocol's effective settings, without seed, paths, device and learning rate."""
    data: Name | None = None
    """Name of the data set, ``embedded`` or ``coco`` say."""
    overrides: dict[Name, Any] = Field(default_factory=dict)
    """Settings that differ from the protocol, as given."""
    hardware: dict[Name, Any] = Field(default_factory=dict)
    """``device``, ``name``, ``processes`` and ``cpu_cores``."""
    versions: dict[Name, Annotated[str, Field(max_length=300)]] = Field(default_factory=provenance.versions)
    """Versions of Python and of the packages that decide a result."""
    git_commit: Annotated[str, Field(max_length=300)] | None = Field(default_factory=provenance.git_commit)
    """Commit of the project, with ``+changes`` when tracked files differed."""
    config_hash: Hash | None = None
    """SHA-256 of ``config``."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The resolved options as they were written beside the outputs."""
    details: dict[str, Any] = Field(default_factory=dict)
    """What belongs to the kind: lr and how it was chosen, norm, ids of the images of a fraction, reason ..."""
    created: Annotated[str, Field(max_length=100)] | None = Field(default_factory=_now)
    """UTC time of writing, ISO 8601."""
    schema_version: Literal[2] = SCHEMA_VERSION
    """Version of this schema."""

    @model_validator(mode="after")
    def _check_together(self) -> "RunRecord":
        """Check what one field asks of another."""
        if self.kind == "detection" and not self.protocol:
            raise ValueError("a detection record needs its protocol")
        if self.kind != "imported" and (self.seed is None or self.duration_seconds is None):
            raise ValueError("seed and duration_seconds may be null in imported records only")
        for name in _NUMBERS_OF_DETAILS:
            value = self.details.get(name)
            if value is not None:
                try:
                    _number(value)
                except ValueError:
                    raise ValueError(f"details.{name} is {value!r:.60}, not a number or null") from None
        for task in PERCENT_TASKS:
            for metric, value in self.metrics.get(task, {}).items():
                if value is not None and not 0 <= value <= 100:
                    raise ValueError(f"metrics.{task}.{metric} is {value:g}, which is not a percentage")
        return self

    @property
    def gpu_hours(self) -> float:
        """Wall hours times processes: GPU hours on a machine with GPUs, hours of processes on a CPU."""
        processes = self.hardware.get("processes")
        count = processes if isinstance(processes, int) and processes > 0 else 1
        return (self.duration_seconds or 0.0) / 3600 * count

    def write(self, folder: str | Path = RECORDS) -> Path:
        """Write ``<folder>/<id>.json`` atomically (an earlier record of the same run is replaced); return its path."""
        path = Path(folder) / f"{self.id}.json"
        write_json(path, self.model_dump())
        return path

    @classmethod
    def read(cls, path: str | Path) -> "RunRecord":
        """Read a record. Raises ``UserError`` naming the file and the field when it is not a valid record."""
        path = Path(path)
        try:
            record = cls.model_validate(read_content(path))
        except ValidationError as error:
            raise UserError(f"{path} is not a valid record: {problem_of(error)}; correct it or move it away.") from None
        if record.id != path.stem:
            raise UserError(f"{path} is the record {record.id!r} under another name, a copy perhaps; move it away.")
        return record
