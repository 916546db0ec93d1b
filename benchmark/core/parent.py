"""Processes that end with the one that started them, however that one ends."""

import ctypes
import os
import sys
import threading
import time

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


def end_with_parent(signal_number: int, parent: int | None = None) -> None:
    """Have this process sent a signal when its parent ends, SIGKILL of the parent included.

    On Linux the kernel does it; elsewhere a thread looks every second. Windows has no parents to look for.

    Args:
        signal_number: what is sent.
        parent: number of the process that started this one, where it is known: it may have ended before this call.
    """
    parent = os.getppid() if parent is None else parent
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # it ended before the call
            os.kill(os.getpid(), signal_number)
    elif sys.platform != "win32":
        threading.Thread(target=_watch, args=(parent, signal_number), daemon=True).start()


def _watch(parent: int, signal_number: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal_number)
