"""Requests to stop: SIGTERM and SIGUSR1 (a cluster wants the machine) and SIGINT (Ctrl-C).

While steps are taken a request is only noted, and the training loop ends after the step at hand, on all processes
together, with a saved checkpoint. At any other moment there is nothing to save, and the request ends the run at once:
SIGTERM and SIGUSR1 raise ``Stopped``, Ctrl-C raises ``KeyboardInterrupt``. A second request while one is noted also
ends the run at once, for a step that never ends.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from benchmark.core.errors import Stopped

# Windows has no SIGUSR1.
REQUESTS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name))


class _State:
    """What the handlers know: the process that they belong to, whether steps are taken, the request noted."""

    process = 0
    stepping = False
    request = 0


def requested() -> int:
    """Return the number of the signal that asked this process to stop, 0 when none did."""
    return _State.request


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Handle requests to stop as the module says while the block runs; afterwards as before. Main thread only."""
    _State.process, _State.request = os.getpid(), 0
    before = [(number, signal.signal(number, _handle)) for number in REQUESTS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Note a request instead of ending the run at once while the block runs (the steps of a training loop).

    Raises ``Stopped`` at its end for a request that came after the last step had looked.
    """
    _State.stepping = True
    try:
        yield
    finally:
        _State.stepping = False
    if _State.request:
        raise Stopped(_State.request)


def forget_workers() -> None:
    """Stop torch from raising an error, anywhere, when a worker of a DataLoader dies: the run is ending already."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _handle(number: int, _: FrameType | None) -> None:
    if os.getpid() != _State.process:
        return  # a process forked a moment ago, which has not yet its own handlers
    if _State.stepping and not _State.request:
        _State.request = number
        if number == signal.SIGINT:
            os.write(sys.__stderr__.fileno(), b"\nsaving after this step; Ctrl-C again ends at once\n")
        return
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Stopped(number)
