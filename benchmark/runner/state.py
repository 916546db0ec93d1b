"""How far each run of a suite is, from the records and the runs' own folders: nothing else is kept."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from benchmark.core.lock import LOCK_FILE, owner
from benchmark.records import RunRecord
from benchmark.runner.planned import PlannedRun

OUTCOME = "outcome.json"  # in a run's folder: how its last start ended
Name = Literal["done", "running", "diverged", "failed", "stopped", "to do"]
OVER = ("done", "diverged")  # what the suite does not start again


@dataclass(frozen=True)
class State:
    """How far a run is. ``detail`` says why or where, for people; ``record`` is its record, where it has one."""

    name: Name
    detail: str = ""
    record: RunRecord | None = None


def by_folder(records: Iterable[RunRecord]) -> dict[str, RunRecord]:
    """Return the records by the name of their run's folder.

    The name ends with the hash of all that makes the run, so that records say what is done also after the folder of the
    suite was moved, or on another machine.
    """
    found: dict[str, RunRecord] = {}
    for record in records:
        output = record.config.get("output")
        if isinstance(output, str) and output:
            found[Path(output).name] = record
    return found


def states(runs: Sequence[PlannedRun], records: Iterable[RunRecord]) -> dict[str, State]:
    """Return the state of every run by its name."""
    known = by_folder(records)
    return {run.name: state_of(run, known) for run in runs}


def state_of(run: PlannedRun, known: Mapping[str, RunRecord]) -> State:
    """Return the state of one run, given the records by the name of their folder.

    A completed record means done, and a diverged one is a result too: the same command would diverge again. Otherwise a
    lock that is held means running, a record of a failure means failed, and an outcome without a record a run that was
    stopped and continues.
    """
    record = known.get(run.name)
    if record is not None and record.status == "completed":
        return State("done", "", record)
    if who := _working_in(run.output):
        return State("running", who, record)
    if record is not None and record.status == "diverged":
        return State("diverged", str(record.details.get("reason", "")), record)
    if record is not None:
        return State("failed", str(record.details.get("reason", record.status)), record)
    outcome = read_outcome(run.output)
    if outcome.get("exit_code") in (75, 130):
        return State("stopped", "it continues where it stopped")
    if outcome.get("status") == "failed":
        return State("failed", str(outcome.get("reason", "")))
    return State("to do", "it continues" if (run.output / "run.json").is_file() else "")


def _working_in(folder: Path) -> str:
    """Return who works in a run's folder, nothing where nobody does."""
    path = folder / LOCK_FILE
    if not path.is_file():
        return ""
    lock = FileLock(path, thread_local=False)
    try:
        with lock.acquire(timeout=0):
            return ""
    except Timeout:
        return owner(folder)
    except OSError:
        return ""


def read_outcome(folder: Path) -> dict[str, object]:
    """Return what ``outcome.json`` of a run's folder says, nothing where there is none or it is damaged."""
    try:
        content = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
