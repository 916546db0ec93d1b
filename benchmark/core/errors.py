"""The ways in which a command can end, and the one function that turns each of them into an exit code.

| exit code | how the command ended | what is raised |
| --- | --- | --- |
| 0 | done | nothing |
| 1 | the run failed or diverged; its record says why | ``RunFailed`` |
| 2 | the user made a mistake, which one sentence explains | ``UserError`` |
| 75 | SIGTERM or SIGUSR1 asked it to stop; it has saved its state | ``Stopped`` |
| 130 | Ctrl-C; it has saved its state if it was training | ``Stopped``, ``KeyboardInterrupt`` |
| 141 | whoever read the output has left (``head``), as of a command that SIGPIPE ends | ``BrokenPipeError`` |

Any other exception is a defect of this project and keeps its traceback (Python's own exit code 1). 75 is EX_TEMPFAIL
of <sysexits.h>: the same command, started again, goes on.
"""

import difflib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable

PACKAGES = ("benchmark", "pretrain", "transfer")  # a module of ours that is missing is a defect
DONE, FAILED, MISTAKE, STOPPED, INTERRUPTED, UNREAD = 0, 1, 2, 75, 130, 141
WAIT_FOR_LAUNCHER = 10.0  # seconds that a process other than the first waits for torchrun to end it


class UserError(Exception):
    """A mistake of the user. The message is one sentence: what is wrong, where, what to do next. Exit code 2."""


class RunFailed(Exception):
    """The run itself failed; its record says so. Exit code 1.

    Attributes:
        everywhere: True where every process of the run raises it after the same step (a loss that is not finite on
            any of them), False where one process alone has met it (a full disk).
    """

    everywhere = False


class Stopped(BaseException):
    """A signal asked the process to stop, and what had to be saved is saved. Exit code 75, of Ctrl-C 130.

    Not an ``Exception``, like ``KeyboardInterrupt``: whoever handles errors must not mistake it for one.
    """

    def __init__(self, signal_number: int, where: str = ""):
        name = "Ctrl-C" if signal_number == signal.SIGINT else signal.Signals(signal_number).name
        super().__init__(f"stopped by {name}{where}; the same command continues")
        self.signal_number = signal_number


class EndsQuietly(Exception):
    """Ends this process without a word and with the given exit code: another process of the run says why."""

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to `name`, or a full stop."""
    found = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else "."


def check_choice(name: str, value: str, known: Iterable[str]) -> None:
    """Raise ``UserError`` naming the closest choice unless `value` is one of `known`; `name` is the option's name."""
    known = list(known)
    if value not in known:
        raise UserError(f"{name} has no value {value!r}{nearest(value, known)} It is one of: {', '.join(known)}.")


def ending(error: BaseException) -> tuple[int, str]:
    """Return the exit code of a command that `error` ends, and the line that is printed ('' for none).

    Raises `error` itself when it is none of the ways in which a command may end.
    """
    if isinstance(error, UserError):
        return MISTAKE, f"error: {error}"
    if isinstance(error, RunFailed):
        return FAILED, f"failed: {error}"
    if isinstance(error, Stopped):
        return (INTERRUPTED if error.signal_number == signal.SIGINT else STOPPED), str(error)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted; the same command continues from the last checkpoint"
    if isinstance(error, ModuleNotFoundError) and (package := (error.name or "").split(".")[0]) not in ("", *PACKAGES):
        return MISTAKE, f"error: {package} is not installed here; run `make setup`, or see README, Install."
    if isinstance(error, EndsQuietly):
        return error.code, ""
    raise error


def run_command(main: Callable[[list[str] | None], int], argv: list[str] | None = None) -> int:
    """Call ``main(argv)`` and return the exit code, after printing the one line that says how it ended, if badly.

    Without `argv` this is the whole program: what remains is Python's own ending, during which a request to stop would
    only replace the exit code of a run that has ended already, so requests are ignored from then on.
    """
    code = _code_of(main, argv)
    if argv is None:
        for name in ("SIGTERM", "SIGUSR1", "SIGINT"):
            if number := getattr(signal, name, None):  # Windows has no SIGUSR1
                signal.signal(number, signal.SIG_IGN)
    return code


def _code_of(main: Callable[[list[str] | None], int], argv: list[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # paths may hold bytes that are not UTF-8
    try:
        code = main(argv)
        sys.stdout.flush()  # what is still in the buffer may meet a pipe that nobody reads
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        return UNREAD
    except (Exception, Stopped, KeyboardInterrupt) as error:
        code, said = ending(error)
        alone = isinstance(error, RunFailed) and not error.everywhere
    if not alone:
        _let_the_first_process_speak()
    if said:
        print(_one_line(said), file=sys.stderr, flush=True)
    return code


def _one_line(said: str) -> str:
    """Return a sentence with the control characters of names in it (line breaks, escape sequences) spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in said)


def _let_the_first_process_speak() -> None:
    """Wait, on all processes of a torchrun launch but each machine's first, until torchrun ends this process.

    What ends a command has usually been met by all of its processes; one should say so. torchrun ends the others as
    soon as one has left, so the others must not be the first to leave. Where the first does not leave (this process
    alone has met the error) the wait ends after ten seconds.
    """
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    time.sleep(WAIT_FOR_LAUNCHER)
