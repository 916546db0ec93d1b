"""What opens behind a figure: hash, seed, command, configuration and versions of its record, as plain text."""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from benchmark.core.text import readable
from benchmark.pages.view import Grid
from benchmark.records import RunRecord

COMMANDS = {"pretrain": "pretrain/run.py", "classification": "transfer/classify.py"}
MAX_RECORDS, MAX_CONFIGS = 2000, 400  # with details on the page, and with configurations: it stays below 5 MB
MAX_CONFIG = 6000  # characters of a configuration on the page; the record holds all of it


def details_of_all(records: Sequence[RunRecord], grids: Sequence[Grid]) -> dict[str, dict[str, Any]]:
    """Return the details of the records that figures open, by id; with very many records, of the first of them."""
    opened = {id for grid in grids for row in grid.rows for cell in row.cells for id in cell.records}
    chosen = [record for record in records if record.id in opened][:MAX_RECORDS]
    return {record.id: details_of(record, with_config=number < MAX_CONFIGS) for number, record in enumerate(chosen)}


def details_of(record: RunRecord, with_config: bool = True) -> dict[str, Any]:
    """Return a record as the page's dialog shows it: facts, command, and the configuration where it is asked for."""
    facts = {
        "status": record.status,
        "method": record.method,
        "epochs of pre-training": _text(record.epochs),
        "seed": str(record.seed),
        "protocol": _text(record.protocol),
        "settings (hash)": _text(record.protocol_hash),
        "weights (hash)": _text(record.weights_sha256),
        "configuration (hash)": _text(record.config_hash),
        "hardware": _joined(record.hardware),
        "duration": duration(record.duration_seconds),
        "commit": _text(record.git_commit),
        "written": str(record.created),
    }
    if reason := record.details.get("reason"):
        facts["reason"] = str(reason)
    shown = {"config": record.config, "versions": record.versions} if with_config else {}
    config = readable(json.dumps(shown, indent=1, ensure_ascii=True, default=str), limit=None)
    return {
        "facts": {name: readable(value) for name, value in facts.items() if value},
        "command": readable(command_of(record), limit=2000),
        "config": config[:MAX_CONFIG] if with_config else "",
    }


def command_of(record: RunRecord) -> str:
    """Return the command that repeats a run, from its configuration; empty where the record has none."""
    if not record.config or record.kind == "imported":
        return ""
    script = COMMANDS.get(record.kind) or ("transfer/voc.py" if "voc" in str(record.protocol) else "transfer/coco.py")
    words = ["python", script]
    for key, value in record.config.items():
        words += _option(key, value)
    return shlex.join(words)


def _option(key: str, value: Any) -> list[str]:
    flag = "--" + str(key).replace("_", "-")
    if value is None or value in ((), [], ""):
        return []
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if key == "overrides":
        return [str(word) for word in value] if isinstance(value, list | tuple) else []
    if isinstance(value, list | tuple):
        return [flag, ",".join(map(str, value))]
    return [flag, str(value)]


def duration(seconds: float) -> str:
    """Return a wall time for people: ``45 s``, ``12 min``, ``7.1 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _joined(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value not in (None, ""))
