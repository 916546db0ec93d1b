"""The audit of records: can a reader trust that these runs are all the runs, and that they are what they say?

Every finding is one sentence. A folder of records without findings is not proof of honesty, but it leaves only lies
that somebody had to make on purpose.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from benchmark.audit.shipped import shipped_protocols
from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of
from benchmark.records import RunRecord
from benchmark.records.folders import record_id_of
from benchmark.records.later import later_options

HEX = re.compile(r"[0-9a-f]{64}")
NEEDED_VERSIONS = {"detection": ("torch", "detectron2"), "pretrain": ("torch",), "classification": ("torch",)}
# No GPU of today trains one iteration of a whole protocol faster (8 x H100: about 0.1 s), and a run of a week an
# iteration is a clock that was set wrong.
FASTEST, SLOWEST = 0.01, 600.0  # seconds an iteration
WITHOUT_WEIGHTS = ("detectron2-random",)
PLACEHOLDER = "<path>"  # stands in a bundle for a path that was taken out; then the hash cannot be made again


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, with the record or setting in which it was found."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def read_all(paths: Sequence[Path]) -> tuple[list[RunRecord], list[Finding]]:
    """Read records; those that cannot be read become findings."""
    records, findings = [], []
    for path in paths:
        try:
            records.append(RunRecord.read(path))
        except UserError as error:
            findings.append(Finding(path.name, str(error)))
    return records, findings


def check_records(
    records: Sequence[RunRecord], *, planned: int | None = None, runs: Path | None = None
) -> list[Finding]:
    """Return all findings about a set of records.

    Args:
        planned: how many repeats were planned for every setting; None where nobody said.
        runs: folder of run folders, in which finished runs without a record are looked for.
    """
    findings: list[Finding] = []
    for record in records:
        findings += _one(record)
    findings += _repeats(records, planned)
    findings += _copies(records)
    if runs is not None:
        findings += _left_out(records, runs)
    return findings


def _one(record: RunRecord) -> list[Finding]:
    """Return the findings about one record by itself."""
    texts = [*_provenance(record), *_protocol(record), *_time(record)]
    return [Finding(record.id, text) for text in texts]


def _provenance(record: RunRecord) -> Iterable[str]:
    if record.kind == "imported":
        return
    hashed = any(HEX.fullmatch(value or "") for value in (record.weights_sha256, record.file_sha256))
    if record.status == "completed" and not hashed and record.method not in WITHOUT_WEIGHTS:
        yield "it names no hash of the weights, so nobody can tell which weights were used"
    if not record.config:
        yield "it carries no configuration, so nobody can repeat the run"
    elif record.config_hash != sha256_of(record.config) and PLACEHOLDER not in str(record.config):
        yield "its config_hash is not the hash of the configuration beside it; one of the two was changed afterwards"
    known = {name.removeprefix("sal-") for name, version in record.versions.items() if version}  # as it is packaged
    missing = [name for name in NEEDED_VERSIONS.get(record.kind, ()) if name not in known]
    if missing:
        yield f"it does not say which version of {' and '.join(missing)} ran"
    if not record.git_commit:
        yield "it names no commit of this project"
    if record.status == "completed" and not any(record.metrics.values()):
        yield "it says completed but holds no figure"
    if record.status != "completed" and not record.details.get("reason"):
        yield f"it says {record.status} but not why"


def _protocol(record: RunRecord) -> Iterable[str]:
    if record.kind != "detection" or record.protocol is None:
        return
    shipped = shipped_protocols().get(record.protocol)
    if shipped is None:
        yield f"its protocol {record.protocol} is none of the shipped ones, so it stands in a table of its own"
    elif not record.overrides and record.protocol_hash != shipped.hash:
        yield (
            f"its settings have the hash {str(record.protocol_hash)[:12]}, but {record.protocol} as shipped has "
            f"{shipped.hash[:12]}, and the record names no changed setting; it was made by another version, or another "
            "batch"
        )


def _time(record: RunRecord) -> Iterable[str]:
    made = _created(record)
    if made is None:
        yield f"its time of writing {record.created!r} is not a time"
    elif made > datetime.now(timezone.utc) + timedelta(days=1):
        yield f"it was written in the future ({record.created}); a clock was wrong"
    iterations = _iterations(record)
    if record.status == "completed" and iterations and record.kind == "detection":
        seconds = record.duration_seconds / iterations
        if not FASTEST <= seconds <= SLOWEST:
            yield (
                f"{record.duration_seconds:.0f} s for {iterations:,} iterations are {seconds:.4f} s each, which "
                "no machine of today does; the time or the length is wrong"
            )


def _created(record: RunRecord) -> datetime | None:
    try:
        made = datetime.fromisoformat(str(record.created))
    except ValueError:
        return None
    return made if made.tzinfo else made.replace(tzinfo=timezone.utc)


def _iterations(record: RunRecord) -> int | None:
    given = record.overrides.get("SOLVER.MAX_ITER")
    shipped = shipped_protocols().get(record.protocol or "")
    value = given if given is not None else shipped.settings.get("SOLVER.MAX_ITER") if shipped else None
    return value if isinstance(value, int) and value > 0 else None


def setting_of(record: RunRecord, later: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Return what repeats share: kind, protocol, data, method, lengths, branch and learning rate.

    Of a pre-training all its options count but the seed, where it wrote, and those of `later` versions.
    """
    details = record.details
    lr = "swept" if details.get("lr_chosen_by") == "sweep" else str(details.get("lr"))
    parts = (record.kind, record.protocol, record.protocol_hash, record.data, record.method, record.epochs)
    parts += (record.total_epochs, record.branch, lr, details.get("fraction"))
    if record.kind == "pretrain":
        beside = {"seed", "output", "records", *later}
        config = {key: value for key, value in record.config.items() if key not in beside}
        parts += (sha256_of(config),)
    return tuple(str(part) for part in parts)


def name_of(record: RunRecord) -> str:
    """Return a setting's name for people."""
    epochs = "" if record.epochs is None else f", {record.epochs} epochs"
    return f"{record.method}{epochs}, {record.protocol or record.kind} on {record.data}"


def _repeats(records: Sequence[RunRecord], planned: int | None) -> list[Finding]:
    later = later_options(record for record in records if record.kind == "pretrain")
    groups: dict[tuple[str, ...], list[RunRecord]] = defaultdict(list)
    for record in records:
        if record.kind != "imported":
            groups[setting_of(record, later.get(record.method, frozenset()))].append(record)
    findings = []
    for group in groups.values():
        name = name_of(group[0])
        by_seed: dict[tuple[int, str | None], list[str]] = defaultdict(list)
        for record in group:
            by_seed[record.seed, record.weights_sha256 if record.kind != "pretrain" else None].append(record.id)
        for (seed, _), ids in by_seed.items():
            if len(ids) > 1:
                findings.append(Finding(name, f"seed {seed} was run {len(ids)} times ({', '.join(sorted(ids)[:4])})"))
        seeds = sorted({record.seed for record in group})
        wanted = max(seeds[-1] - seeds[0] + 1, planned or 0)
        missing = [seed for seed in range(seeds[0], seeds[0] + wanted) if seed not in seeds]
        if missing and (planned is None or len(seeds) < planned):
            listed = ", ".join(map(str, missing[:6]))
            findings.append(
                Finding(name, f"seed {listed} is missing between the others; a run that failed is recorded too")
            )
        if planned is not None and len(seeds) < planned:
            findings.append(Finding(name, f"{planned} repeats were planned and {len(seeds)} are here"))
    return findings


def _copies(records: Sequence[RunRecord]) -> list[Finding]:
    """Find runs that differ in name and agree in every figure: one of them was copied."""
    alike: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if record.status == "completed" and record.kind == "detection" and any(record.metrics.values()):
            figures = {task: sorted(values.items(), key=str) for task, values in record.metrics.items()}
            if any(value for task in record.metrics.values() for value in task.values() if value):
                alike[sha256_of(figures)].append(record.id)
    return [
        Finding(
            ", ".join(sorted(ids)), "these runs agree in every figure to the last digit; one is a copy of the other"
        )
        for ids in alike.values()
        if len(ids) > 1
    ]


def _left_out(records: Sequence[RunRecord], runs: Path) -> list[Finding]:
    """Find run folders that hold results and have no record among these."""
    ids = [record.id for record in records]
    findings = []
    for folder in sorted(path for path in runs.iterdir() if path.is_dir()):
        a_run = (folder / "results.json").is_file() or (folder / "run.json").is_file()
        if a_run and record_id_of(folder, ids) is None:
            findings.append(Finding(folder.name, "the folder of this run is here and its record is left out"))
    return findings
