"""The two ways a command ends badly, and the one function that turns them into exit codes.

0: done. 1: the run failed or diverged (``RunFailed``). 2: a mistake of the user, told in one sentence (``UserError``).
Anything else is a defect of this project and keeps its traceback.
"""

import difflib
import os
import sys
import time
from collections.abc import Callable, Iterable


class UserError(Exception):
    """A mistake of the user. The message is one sentence: what is wrong, where, what to do next. Exit code 2."""


class RunFailed(Exception):
    """The run itself failed or diverged; its record says so. Exit code 1."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to `name`, or a full stop."""
    found = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else "."


def check_choice(name: str, value: str, known: Iterable[str]) -> None:
    """Raise ``UserError`` naming the closest choice unless `value` is one of `known`; `name` is the option's name."""
    known = list(known)
    if value not in known:
        raise UserError(f"{name} has no value {value!r}{nearest(value, known)} It is one of: {', '.join(known)}.")


def leave_to_first() -> None:
    """End every process of a machine but the first, which tells the user's mistake that all have found.

    They wait a little, because torchrun ends the others when one leaves. A single process goes on.
    """
    if int(os.environ.get("LOCAL_RANK", 0)):
        time.sleep(3)
        raise SystemExit(2)


def run_command(main: Callable[[list[str] | None], int], argv: list[str] | None = None) -> int:
    """Call ``main(argv)``; print ``UserError`` and ``RunFailed`` as one sentence each and return the exit code."""
    try:
        return main(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunFailed as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command continues from the last checkpoint", file=sys.stderr)
        return 130
