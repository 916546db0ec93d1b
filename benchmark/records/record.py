"""RunRecord: the one schema that every run writes and the only thing, beside published.csv, that a report reads."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmark.core import provenance
from benchmark.core.errors import UserError
from benchmark.core.files import write_json
from benchmark.core.folder import RESULTS

SCHEMA_VERSION = 1
KINDS = ("pretrain", "detection", "classification")
STATUSES = ("completed", "diverged", "failed")
RECORDS = RESULTS / "records"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class RunRecord:
    """What one run was and what it gave. Absent values are None, never 0 or -1.

    Attributes:
        id: unique name; also the file's name, ``<id>.json``.
        kind: pretrain, detection or classification.
        status: completed, diverged (``details`` has iteration and lr) or failed.
        method: pre-training method, ``kernel_ssl`` say, or the init family (``random``, ``detectron2-random``).
        epochs: epochs of pre-training that the weights have had (the checkpoint's own metadata); 0 untrained.
        total_epochs: length that the pre-training's schedule was made for, in epochs.
        branch: ``online`` or ``momentum``; None where there is none.
        weights_sha256: of the weights file that was fine-tuned, 64 hexadecimal digits.
        protocol: name of the protocol; protocol_hash: of its effective settings without seed and paths.
        data: name of the data set, ``embedded`` or ``coco`` say.
        overrides: settings that differ from the protocol, as given.
        seed: of the run. Detectron2 does not promise equal results for equal seeds.
        metrics: ``{task: {metric: value}}`` with task bbox, segm, pretrain, ...; AP in percent.
        duration_seconds: wall time, all resumed parts together.
        hardware, versions, git_commit, config_hash: provenance.
        config: the resolved config as it was written beside the outputs.
        details: what belongs to the kind (lr and how it was chosen, norm, image ids of a fraction, diverged_at ...).
        created: UTC time of writing, ISO 8601.
    """

    id: str
    kind: str
    status: str
    method: str
    seed: int
    metrics: dict[str, dict[str, float | None]]
    duration_seconds: float
    epochs: int | None = None
    total_epochs: int | None = None
    branch: str | None = None
    weights_sha256: str | None = None
    protocol: str | None = None
    protocol_hash: str | None = None
    data: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=provenance.versions)
    git_commit: str | None = field(default_factory=provenance.git_commit)
    config_hash: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    created: str = field(default_factory=_now)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise ValueError(problem)

    def write(self, folder: str | Path = RECORDS) -> Path:
        """Write ``<folder>/<id>.json`` atomically (an earlier record of the same run is replaced); return its path."""
        path = Path(folder) / f"{self.id}.json"
        write_json(path, dataclasses.asdict(self))
        return path

    @classmethod
    def read(cls, path: str | Path) -> "RunRecord":
        """Read a record. Raises ``UserError`` naming the file and the field when it is no valid record."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as a record ({error}); remove or mend it.") from None
        if not isinstance(content, dict):
            raise UserError(f"{path} is no record: it holds a {type(content).__name__}; remove it.")
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise UserError(f"{path} has schema_version {version!r}, this version reads {SCHEMA_VERSION}; remove it.")
        known = {f.name for f in dataclasses.fields(cls)}
        required = {f.name for f in dataclasses.fields(cls) if not _has_default(f)}
        if unknown := sorted(set(content) - known):
            raise UserError(f"{path} has unknown fields {', '.join(unknown)}; remove or mend it.")
        if missing := sorted(required - set(content)):
            raise UserError(f"{path} lacks the fields {', '.join(missing)}; remove or mend it.")
        try:
            record = cls(**content)
        except ValueError as error:
            raise UserError(f"{path} is no valid record: {error}; remove or mend it.") from None
        if record.id != Path(path).stem:
            raise UserError(f"{path} is the record {record.id!r} under another name, a copy perhaps; remove it.")
        return record


def _has_default(f: "dataclasses.Field[Any]") -> bool:
    return f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING


# What JSON may hold in each field; ``details`` holds numbers under these names, which the report prints.
_STRINGS = ("id", "kind", "status", "method", "created")
_STRINGS_OR_NULL = ("branch", "weights_sha256", "protocol", "protocol_hash", "data", "git_commit", "config_hash")
_OBJECTS = ("metrics", "overrides", "hardware", "versions", "config", "details")
_DETAILS_NUMBERS = ("lr", "lr_at_end", "iteration", "fraction")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _wrong_type(record: RunRecord) -> str | None:
    """Name the first field that holds another kind of value than its own, or None."""
    for names, allowed, said in (
        (_STRINGS, (str,), "text"),
        (_STRINGS_OR_NULL, (str, type(None)), "text or null"),
        (_OBJECTS, (dict,), "an object"),
        (("seed",), (int,), "a whole number"),
        (("epochs", "total_epochs"), (int, type(None)), "a whole number or null"),
    ):
        for name in names:
            value = getattr(record, name)
            if not isinstance(value, allowed) or isinstance(value, bool):
                return f"{name} is {value!r}, not {said}"
    for name in _DETAILS_NUMBERS:
        value = record.details.get(name)
        if value is not None and not _is_number(value):
            return f"details.{name} is {value!r}, not a number or null"
    return next((f"metrics.{t} is not an object" for t, v in record.metrics.items() if not isinstance(v, dict)), None)


def _problem(record: RunRecord) -> str | None:
    """Return what is wrong with a record, or None."""
    if wrong := _wrong_type(record):
        return wrong
    if not record.id or "/" in record.id or record.id.startswith("."):
        return f"id {record.id!r} is not a file name"
    if record.kind not in KINDS:
        return f"kind {record.kind!r} is none of {', '.join(KINDS)}"
    if record.status not in STATUSES:
        return f"status {record.status!r} is none of {', '.join(STATUSES)}"
    if not _is_number(record.duration_seconds) or record.duration_seconds < 0:
        return f"duration_seconds {record.duration_seconds!r} is not a time"
    for task, values in record.metrics.items():
        for metric, value in values.items():
            if value is not None and not _is_number(value):
                return f"metrics.{task}.{metric} is {value!r}; a missing value is null"
    if record.kind == "detection" and not record.protocol:
        return "a detection record needs its protocol"
    return None


def read_records(folder: str | Path = RECORDS) -> list[RunRecord]:
    """Read all records of a folder, ordered by id; an absent folder has none. Raises ``UserError`` for a bad file."""
    # Hidden files are no records: other systems leave such beside copied files.
    paths = (path for path in Path(folder).glob("*.json") if not path.name.startswith("."))
    return [RunRecord.read(path) for path in sorted(paths)]
