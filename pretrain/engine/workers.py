"""What every worker process of a DataLoader does first, in both halves (``worker_init_fn``)."""

import multiprocessing
import os
import signal
import threading

from benchmark.core.parent import end_with_parent


def start_worker(_: int = 0) -> None:
    """End with the training process, and leave requests to stop to it.

    A cluster sends SIGTERM to every process of a job, and a terminal sends Ctrl-C to every process of a command. A
    worker that obeyed would take the step away that the training process wants to finish and save. Only the training
    process ends its workers, by SIGTERM of its own or by ending itself.
    """
    started_by = multiprocessing.parent_process()
    # A fork server stands between the two: then the process that started this one is not its parent.
    direct = started_by is not None and multiprocessing.get_start_method() != "forkserver"
    end_with_parent(getattr(signal, "SIGKILL", signal.SIGTERM), started_by.pid if started_by and direct else None)
    requests = {signal.SIGINT} | {getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)}
    if not hasattr(signal, "sigwaitinfo"):  # macOS and Windows do not say who has sent a signal
        for number in requests - {signal.SIGTERM}:
            signal.signal(number, signal.SIG_IGN)
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, requests)
    threading.Thread(target=_obey_parent, args=(requests, os.getppid()), daemon=True).start()


def _obey_parent(requests: set[signal.Signals], parent: int) -> None:
    """Take the signals that are blocked in this process; end at a SIGTERM of the parent."""
    while True:
        found = signal.sigwaitinfo(requests)
        if found.si_signo == signal.SIGTERM and found.si_pid in (parent, os.getpid()):
            os._exit(0)
