"""``python benchmark/check.py PATH ...``: audit a Detectron2 log, a config, a run folder, or records, of anyone.

A log, config or run folder is compared with our protocols: which one is it, which settings differ and what that is
known to do, which weights, which AP, at what cost. Records (a file, or a folder of them) are audited as a submission.
Imports neither torch nor Detectron2. Exit code 0: no finding; 1: findings, each in a sentence; 2: cannot be read.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core.errors import UserError, run_command
from benchmark.core.options import check_values, option, parse
from benchmark.core.value_types import Count, CountOrZero, PathText

if TYPE_CHECKING:
    from benchmark.audit.verdict import Audit

PROG = "python benchmark/check.py"
DESCRIPTION = "Audit logs and configs of Detectron2, run folders, and folders of records, of anyone."


@dataclass(frozen=True)
class CheckConfig:
    """Options of an audit."""

    paths: tuple[str, ...] = option(
        (), "logs, configs, run folders, records or folders of records", group="Files", positional=True
    )
    annotations: PathText | None = option(
        None, "COCO annotations with which saved detections are scored again", group="Records"
    )
    runs: PathText | None = option(
        None,
        "folder of run folders: are there runs without a record, and what do their detections score",
        group="Records",
    )
    planned: Count | None = option(None, "repeats that were planned for every setting", group="Records")
    record: bool = option(False, "write an imported record of each audited run that gave an AP", group="Import")
    records: PathText | None = option(None, "folder of the imported records; default results/records", group="Import")
    method: str | None = option(None, "pre-training method of the audited weights, as you state it", group="Import")
    epochs_stated: CountOrZero | None = option(
        None, "epochs of pre-training of the audited weights, as you state them", group="Import"
    )
    bundle: PathText | None = option(
        None, "write records, configs, logs and detections into this ZIP file, without private paths", group="Bundle"
    )
    json: bool = option(False, "print JSON for machines", group="Output")

    def __post_init__(self) -> None:
        check_values(self)


def main(argv: list[str] | None = None) -> int:
    """Audit what the command line names; return 0 without findings and 1 with some. Raises ``UserError``."""
    config = parse(CheckConfig, argv, PROG, DESCRIPTION)
    if not config.paths:
        raise UserError(f"name a log, a config, a run folder or records to audit; see {PROG} --help.")
    # Imported late so that --help answers at once.
    from benchmark.audit.bundle import write_bundle
    from benchmark.audit.submission import Finding

    results: list[dict[str, Any]] = []
    findings: list[Finding] = []
    for path in (each for given in config.paths for each in expanded(Path(given))):
        one, found = _records(path, config) if is_records(path) else _run(path, config)
        results.append(one)
        findings += found
    if config.json:
        print(json.dumps(results, indent=1, allow_nan=False))
    if config.bundle:
        written = write_bundle(Path(config.bundle), [Path(path) for path in config.paths], config.runs)
        print(f"bundle {written}")
    return 1 if findings else 0


def expanded(path: Path) -> list[Path]:
    """Return the logs and configs of a folder that merely collects them; any other path is itself."""
    from benchmark.audit.verdict import CONFIGS, LOGS

    if not path.is_dir() or is_records(path) or any((path / name).is_file() for name in (*CONFIGS, *LOGS)):
        return [path]
    found = sorted(each for each in path.iterdir() if each.suffix.lower() in (".log", ".yaml", ".yml"))
    return found or [path]


def is_records(path: Path) -> bool:
    """Say whether a path is a record or a folder of records rather than a run."""
    if path.suffix.lower() == ".zip":
        return True
    if path.is_dir():
        return not (path / "run.json").is_file() and any(path.glob("*.json")) and not any(path.glob("*.yaml"))
    return path.suffix.lower() == ".json"


def _run(path: Path, config: CheckConfig) -> tuple[dict[str, Any], list[Any]]:
    """Audit one run; print it, and write its imported record where that was asked for."""
    from benchmark.audit.submission import Finding
    from benchmark.audit.verdict import as_json, audit
    from benchmark.audit.words import as_text

    found = audit(path)
    if not config.json:
        print(as_text(found))
    if config.record:
        _import(found, config)
    return as_json(found), [Finding(str(path), text) for text in found.findings]


def _import(found: "Audit", config: CheckConfig) -> None:
    """Write the imported record of an audited run and say where it is."""
    from benchmark.audit.imported import imported_record
    from benchmark.records import RECORDS

    record = imported_record(found, method=config.method, epochs=config.epochs_stated)
    print(f"record {record.write(Path(config.records or RECORDS))}")


def _records(path: Path, config: CheckConfig) -> tuple[dict[str, Any], list[Any]]:
    """Audit records as a submission; print each finding."""
    from benchmark.audit.bundle import opened
    from benchmark.audit.rescoring import rescore_all
    from benchmark.audit.submission import check_records, read_all

    with opened(path) as (paths, runs, inside):
        records, findings = read_all(paths)
        findings = [*inside, *findings]
        folder = Path(config.runs) if config.runs else runs
        findings += check_records(records, planned=config.planned, runs=folder)
        scored, found = rescore_all(records, folder, Path(config.annotations) if config.annotations else None)
        findings += found
    if not config.json:
        print(f"{path}: {len(paths)} record(s), {scored} scored again from saved detections")
        print("\n".join(f"  FINDING  {finding}" for finding in findings) or "  findings none")
    return {
        "path": str(path),
        "kind": "records",
        "records": len(paths),
        "scored_again": scored,
        "findings": [str(finding) for finding in findings],
    }, findings


if __name__ == "__main__":
    raise SystemExit(run_command(main))
