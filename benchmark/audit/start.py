"""From the options of ``benchmark/check.py`` to its findings: which paths are audited, as what, and what is printed."""

import json
from pathlib import Path
from typing import Any

from benchmark.audit.bundle import opened, write_bundle
from benchmark.audit.config import CheckConfig
from benchmark.audit.imported import imported_record
from benchmark.audit.rescoring import rescore_all
from benchmark.audit.submission import Finding, check_records, read_all
from benchmark.audit.verdict import CONFIGS, LOGS, Audit, as_json, audit
from benchmark.audit.words import as_text
from benchmark.records import RECORDS


def start(config: CheckConfig) -> int:
    """Audit what the options name; return 0 without findings and 1 with some. Raises ``UserError``."""
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
    found = audit(path)
    if not config.json:
        print(as_text(found))
    if config.record:
        _import(found, config)
    return as_json(found), [Finding(str(path), text) for text in found.findings]


def _import(found: Audit, config: CheckConfig) -> None:
    """Write the imported record of an audited run and say where it is."""
    record = imported_record(found, method=config.method, epochs=config.epochs_stated)
    print(f"record {record.write(Path(config.records or RECORDS))}")


def _records(path: Path, config: CheckConfig) -> tuple[dict[str, Any], list[Any]]:
    """Audit records as a submission; print each finding."""
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
