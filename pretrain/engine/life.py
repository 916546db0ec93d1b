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

import time
from collections.abc import Callable
from typing import Any

from benchmark.core.errors import EndsQuietly, RunFailed, Stopped, UserError, ending
from benchmark.core.files import CannotWrite
from benchmark.core.folder import check_folder, check_writable
from pretrain.engine import processes, signals
from pretrain.engine.account import Account
from pretrain.engine.failures import Diverged, ProcessLost, explained
from pretrain.engine.recording import (
    Describe,
    Ending,
    Reserve,
    ending_is_there,
    forget_ending,
    record_is_there,
    write_ending,
    write_record,
)
from pretrain.engine.runs import Metrics, Outcome, Run

__all__ = ["Account", "Outcome", "Run", "check", "live"]

Work = Callable[[Run[Any, Any], Account], Metrics]
LAST_WORDS = 5.0  # seconds in which a process that has ended alone may still be writing why


def check(run: Run[Any, Any]) -> None:
    """Raise ``UserError`` where the run cannot be begun or continued; writes nothing. Also what --dry-run checks."""
    check_writable(run.output, "--output")
    check_folder(run.output, run.identity)
    if run.records is not None:
        check_writable(run.records, "--records")


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
            processes.from_main(lambda: check(run))
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
    reserve = Reserve(run) if processes.is_main() else None
    try:
        if processes.is_main():
            forget_ending(run)
        metrics = work(run, account)
    except BaseException as error:
        signals.forget_workers()
        if reserve is not None:
            reserve.free()
        ended = _ended_badly(run, error, account, describe)
        if ended is error:
            raise
        raise ended from None
    if reserve is not None:
        reserve.free()
        if not (account.complete_before and record_is_there(run)):
            write_record(run, Outcome("completed", account.seconds, metrics, account.details), describe)
        write_ending(run, Ending("completed", 0))


def _ended_badly(run: Run[Any, Any], error: BaseException, account: Account, describe: Describe) -> BaseException:
    """Record why a run ended before its time; return what this process raises."""
    if isinstance(error, UserError | EndsQuietly):
        return error
    if isinstance(error, Stopped | KeyboardInterrupt):
        if processes.is_main():
            write_ending(run, Ending("stopped", ending(error)[0], str(error)))
        return error
    if not isinstance(error, Exception):
        return error
    failure = explained(error, run.less_memory)
    if isinstance(failure, ProcessLost) and not _first_to_tell(run):
        return EndsQuietly(1)
    _record_failure(run, failure or error, account, describe)
    return error if failure is None else _last_word(run, failure)


def _first_to_tell(run: Run[Any, Any]) -> bool:
    """Say whether this process should tell that another one is lost: the main one, unless the lost one has said why."""
    deadline = time.monotonic() + LAST_WORDS
    while processes.is_main() and time.monotonic() < deadline and not ending_is_there(run):
        time.sleep(0.1)
    return processes.is_main() and not ending_is_there(run)


def _record_failure(run: Run[Any, Any], failure: Exception, account: Account, describe: Describe) -> None:
    """Write the record of a run that did not complete: on the main process what all know, else on this one."""
    everywhere = getattr(failure, "everywhere", False)
    if processes.is_main() or not everywhere:
        reason = str(failure) if isinstance(failure, RunFailed) else f"{type(failure).__name__}: {failure}"
        details = {**account.details, "reason": reason}
        status = "failed"
        if isinstance(failure, Diverged):
            status, details = "diverged", {**details, "iteration": failure.iteration, "lr_at_end": failure.lr}
        try:
            write_ending(run, Ending(status, 1, reason))
            write_record(run, Outcome(status, account.seconds, {}, details), describe)
        except CannotWrite as error:  # it must not hide the failure itself
            processes.say(f"warning: the record of the failure could not be written: {error}")
    if everywhere:
        processes.wait_for_all()  # a process that leaves early makes torchrun end the one that writes


def _last_word(run: Run[Any, Any], failure: RunFailed) -> Exception:
    """Return what ends this process after a failure: its sentence, or silence where the main process says it."""
    if failure.everywhere and not processes.is_main():
        return EndsQuietly(1)
    said = RunFailed(f"{failure}; the last good checkpoint, if any, is in {run.output}.")
    said.everywhere = failure.everywhere
    return said
