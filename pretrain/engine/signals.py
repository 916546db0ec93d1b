"""Requests to stop: SIGTERM and SIGUSR1 (a cluster wants the machine) and SIGINT (Ctrl-C).

While steps are taken a request is only noted, and the training loop ends after the step at hand, on all processes
together, with a saved checkpoint. At any other moment there is nothing to save, and the request ends the run at once:
SIGTERM and SIGUSR1 raise ``Stopped``, Ctrl-C raises ``KeyboardInterrupt``. A second request while one is noted also
ends the run at once, for a step that never ends. What comes within three seconds of the first is the same request: a
cluster and torchrun both send it, and the kernel once for every thread of a parent that dies.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

from benchmark.core.errors import Stopped

# Windows has no SIGUSR1.
SAME_REQUEST = 3.0  # seconds
REQUESTS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name))


class _State:
    """What the handlers know: the process that they belong to, whether steps are taken, the request noted."""

    process = 0
    stepping = False
    request = 0
    noted_at = 0.0


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
    """Kill the workers of DataLoaders: the run is ending, and one that hangs in a read would be waited for for ever.

    Nor shall torch raise an error, anywhere, because a worker has died.
    """
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in multiprocessing.active_children():
        worker.kill()


def _handle(number: int, _: FrameType | None) -> None:
    if os.getpid() != _State.process:
        return  # a process forked a moment ago, which has not yet its own handlers
    if _State.request and time.monotonic() - _State.noted_at < SAME_REQUEST:
        return
    first = not _State.request
    _State.request, _State.noted_at = number, time.monotonic()
    if _State.stepping and first:
        if number == signal.SIGINT:
            os.write(sys.__stderr__.fileno(), b"\nsaving after this step; Ctrl-C again ends at once\n")
        return
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Stopped(number)
