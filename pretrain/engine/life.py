"""The life of a run, the same for pre-training, fine-tuning and probing.

A command resolves its options into a ``Run`` and calls ``live(run, work, describe)``:

    check -> claim the folder -> work (resume or begin, train, evaluate) -> record -> release

``work(run, account)`` does what the command is for and returns the metrics of the completed run. It notes in
``account`` what the record is to hold however the run ends: ``account.details``, and ``account.seconds_before`` once
it has read a checkpoint. It calls ``account.nothing_to_do()`` when it finds the run complete already. It raises
``RunFailed`` (``everywhere`` when all processes raise it together) for a failure, ``Diverged`` for a divergence.
``describe(run, outcome)`` returns the fields of the record that only the command knows (method, epochs, protocol ...).

How a run may end, and what follows: ``benchmark.core.errors`` has the exit codes; here every ending leaves
``outcome.json`` in the run's folder (status, exit code, reason), and one that belongs into a table also a record.
Under torchrun, which turns every exit code but 0 into 1, ``outcome.json`` says how the run ended.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from benchmark.core import provenance
from benchmark.core.errors import EndsQuietly, RunFailed, Stopped, UserError, ending
from benchmark.core.files import sha256_of, write_bytes, write_json
from benchmark.core.folder import check_folder
from benchmark.core.options import to_dict
from benchmark.records import RunRecord
from pretrain.engine import processes, signals
from pretrain.engine.account import Account
from pretrain.engine.failures import Diverged, explained

Config = TypeVar("Config")
Subject = TypeVar("Subject")
Metrics = dict[str, dict[str, float | None]]
OUTCOME = "outcome.json"  # how the last start of the run ended
RECORD = "record.json"  # the run's record once more, in its own folder


@dataclass(frozen=True)
class Run(Generic[Config, Subject]):
    """A run, resolved.

    Attributes:
        id: of its record, and the record's file name.  kind: of its record: pretrain, detection or classification.
        config: the command's options, a frozen dataclass with a ``seed``.
        subject: what the command works on: images, weights, data, protocol.
        identity: everything that changes the result, as JSON can hold it; equal identity means the same run.
        output: folder of the run.  records: folder of records.
        device: of this process.  resume: whether a folder that already holds this run is continued or refused.
    """

    id: str
    kind: str
    config: Config
    subject: Subject
    identity: dict[str, Any]
    output: Path
    records: Path
    device: torch.device
    resume: bool = True


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


Work = Callable[[Run[Any, Any], Account], Metrics]
Describe = Callable[[Run[Any, Any], Outcome], dict[str, Any]]


def check(run: Run[Any, Any]) -> None:
    """Raise ``UserError`` where the run cannot be begun or continued; writes nothing. Also what --dry-run checks."""
    check_folder(run.output, run.identity)


def live(run: Run[Any, Any], work: Work, describe: Describe) -> int:
    """Take a run through its life; return 0.

    Raises:
        UserError: nothing was begun: the folder belongs to another run or another process, or cannot be written.
        RunFailed: it failed or diverged, and its record says so.
        Stopped, KeyboardInterrupt: it was asked to stop.
        EndsQuietly: on processes other than the one that says why the run ended.
    """
    processes.initialise(run.device)
    try:
        with signals.handled():
            folder = processes.claim_on_main(run.output, run.identity, run.resume)
            try:
                _check_same_everywhere(run)
                _live_in_folder(run, work, describe)
            finally:
                if folder is not None:
                    folder.release()
    finally:
        processes.shutdown()
    return 0


def _check_same_everywhere(run: Run[Any, Any]) -> None:
    """Raise ``UserError`` on a process that would work on something else than the main one."""
    wanted = processes.from_main(lambda: run.identity)
    if run.identity != wanted:
        differing = ", ".join(key for key in wanted if run.identity.get(key) != wanted[key])
        raise UserError(f"this machine has other {differing} than the first one; give all machines the same files.")


def _live_in_folder(run: Run[Any, Any], work: Work, describe: Describe) -> None:
    account = Account()
    try:
        metrics = work(run, account)
    except (UserError, EndsQuietly):
        raise
    except (Stopped, KeyboardInterrupt) as error:
        if processes.is_main():
            write_outcome(run, "stopped", ending(error)[0], str(error))
        raise
    except Exception as error:
        failure = explained(error)
        _record_failure(run, failure or error, account, describe)
        if failure is None:
            raise  # a defect of this project keeps its traceback
        raise _last_word(run, failure) from None
    if not processes.is_main():
        return
    outcome = Outcome("completed", account.seconds, metrics, account.details)
    if not (account.complete_before and record_is_there(run)):
        write_record(run, outcome, describe)
    write_outcome(run, "completed", 0)


def _record_failure(run: Run[Any, Any], failure: Exception, account: Account, describe: Describe) -> None:
    """Write the record of a run that did not complete: on the main process what all know, else on this one."""
    everywhere = getattr(failure, "everywhere", False)
    if processes.is_main() or not everywhere:
        reason = str(failure) if isinstance(failure, RunFailed) else f"{type(failure).__name__}: {failure}"
        details = {**account.details, "reason": reason}
        status = "failed"
        if isinstance(failure, Diverged):
            status, details = "diverged", {**details, "iteration": failure.iteration, "lr_at_end": failure.lr}
        write_record(run, Outcome(status, account.seconds, {}, details), describe)
        write_outcome(run, status, 1, reason)
    if everywhere:
        processes.wait_for_all()  # a process that leaves early makes torchrun end the one that writes


def _last_word(run: Run[Any, Any], failure: RunFailed) -> Exception:
    """Return what ends this process after a failure: its sentence, or silence where the main process says it."""
    if failure.everywhere and not processes.is_main():
        return EndsQuietly(1)
    said = RunFailed(f"{failure}; the last good checkpoint, if any, is in {run.output}.")
    said.everywhere = failure.everywhere
    return said


def write_record(run: Run[Any, Any], outcome: Outcome, describe: Describe) -> None:
    """Write the run's record into the folder of records, and once more into the run's own folder."""
    card = torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else None
    made = RunRecord(
        id=run.id,
        kind=run.kind,
        status=outcome.status,
        seed=run.config.seed,
        metrics=outcome.metrics,
        duration_seconds=outcome.seconds,
        hardware=provenance.hardware(run.device.type, card, processes.world_size()),
        config_hash=sha256_of(to_dict(run.config)),
        config=to_dict(run.config),
        **describe(run, outcome),
    )
    path = made.write(run.records)
    write_bytes(run.output / RECORD, path.read_bytes())
    processes.say(f"record {path}")


def record_is_there(run: Run[Any, Any]) -> bool:
    """Say whether the record of a completed run is in its place; one that was deleted is put back, if it can be."""
    path, copy = run.records / f"{run.id}.json", run.output / RECORD
    if not path.is_file() and copy.is_file():
        write_bytes(path, copy.read_bytes())
        processes.say(f"record {path}, written again")
    return path.is_file()


def write_outcome(run: Run[Any, Any], status: str, exit_code: int, reason: str | None = None) -> None:
    """Write ``outcome.json``: how this start of the run ended."""
    write_json(run.output / OUTCOME, {"status": status, "exit_code": exit_code, "reason": reason})
