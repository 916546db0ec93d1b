"""What a run leaves when it ends: its record, and ``outcome.json`` in its folder. With room kept free for both."""

import contextlib
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import torch

from benchmark.core import provenance
from benchmark.core.errors import UserError
from benchmark.core.files import CannotWrite, sha256_of, write_bytes, write_json
from benchmark.core.options import to_dict
from benchmark.records import RunRecord
from pretrain.engine import processes
from pretrain.engine.runs import Outcome, Run

OUTCOME = "outcome.json"  # how the last start of the run ended
RECORD = "record.json"  # the run's record once more, in its own folder
Describe = Callable[[Run[Any, Any], Outcome], dict[str, Any]]


class Reserve:
    """Room on the disk for a run's record and outcome, so that a full disk leaves its record too.

    Two small files, one beside the records and one in the run's folder, which are removed when the run ends.
    """

    SIZE = 1 << 16  # bytes; a record has a few thousand

    def __init__(self, run: Run[Any, Any]):
        """Take the room. Raises ``UserError`` when there is none."""
        self.paths = [folder / f".{run.id}.reserve.part" for folder in (run.records, run.output) if folder]
        try:
            for path in self.paths:
                write_bytes(path, bytes(self.SIZE))
        except CannotWrite as error:
            raise UserError(str(error)) from None

    def free(self) -> None:
        """Free the room, where it still is: this must not hide why the run ends."""
        for path in self.paths:
            with contextlib.suppress(OSError):
                path.unlink()


def write_record(run: Run[Any, Any], outcome: Outcome, describe: Describe) -> None:
    """Write the run's record into the folder of records, and once more into the run's own folder.

    What ``describe`` says wins over what the run says of itself. A run without a folder of records leaves none.
    """
    if run.records is None:
        return
    card = torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else None
    known = {
        "id": run.id,
        "kind": run.kind,
        "status": outcome.status,
        "seed": run.config.seed,
        "metrics": outcome.metrics,
        "duration_seconds": outcome.seconds,
        "hardware": provenance.hardware(run.device.type, card, processes.world_size()),
        "config_hash": sha256_of(to_dict(run.config)),
        "config": to_dict(run.config),
    }
    made = RunRecord(**(known | describe(run, outcome)))
    path = made.write(run.records)
    if run.output.is_dir():
        write_bytes(run.output / RECORD, path.read_bytes())
    processes.say(f"record {path}")


def record_is_there(run: Run[Any, Any]) -> bool:
    """Say whether the record of a completed run is in its place; one that was deleted is put back, if it can be."""
    if run.records is None:
        return True
    path, copy = run.records / f"{run.id}.json", run.output / RECORD
    for place in (path, copy):
        if _says_completed(place):
            if place is copy:
                write_bytes(path, copy.read_bytes())
                processes.say(f"record {path}, written again")
            return True
    return False


def _says_completed(path: Any) -> bool:
    try:
        return json.loads(path.read_bytes())["status"] == "completed"
    except (OSError, ValueError, KeyError, TypeError):
        return False


@dataclasses.dataclass(frozen=True)
class Ending:
    """How one start of a run ended: what ``outcome.json`` holds.

    Attributes:
        status: completed, diverged, failed or stopped.  exit_code: of the command.  reason: in a sentence, if any.
    """

    status: str
    exit_code: int
    reason: str | None = None


def write_ending(run: Run[Any, Any], ending: Ending) -> None:
    """Write ``outcome.json``, unless the run's folder is gone."""
    if run.output.is_dir():
        write_json(run.output / OUTCOME, dataclasses.asdict(ending))


def forget_ending(run: Run[Any, Any]) -> None:
    """Remove the ``outcome.json`` of an earlier start: this one has not ended."""
    with contextlib.suppress(OSError):
        (run.output / OUTCOME).unlink(missing_ok=True)


def ending_is_there(run: Run[Any, Any]) -> bool:
    """Say whether a process of this start has said already how it ended."""
    return (run.output / OUTCOME).is_file()
