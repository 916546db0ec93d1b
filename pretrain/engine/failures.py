"""Which errors are failures of a run, in one sentence each: no memory, no room, a killed helper, a lost process."""

import errno

import torch

from benchmark.core.errors import RunFailed


class Diverged(RunFailed):
    """The loss, the gradient or the weights are no longer finite, on every process alike.

    Attributes:
        iteration: the step in which it was found, counted from 1 as in metrics.json.  lr: of that step.
    """

    everywhere = True

    def __init__(self, what: str, iteration: int, lr: float):
        super().__init__(f"the {what} is not finite at iteration {iteration} (lr {lr:.4g})")
        self.iteration, self.lr = iteration, lr


class ProcessLost(RunFailed):
    """Another process of the run has ended, and this one cannot go on without it."""


SHARED_MEMORY = ("unable to write to file </torch_", "insufficient shared memory", "unable to open shared memory")
CPU_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "std::bad_alloc")
LOST = ("Connection closed by peer", "Connection reset by peer", "NCCL communicator was aborted", "Broken pipe")


def explained(error: Exception, less_memory: str) -> RunFailed | None:
    """Return the failure that an error amounts to, None when it is a defect of this project.

    Args:
        error: what ended the work.  less_memory: what makes the command need less memory, as an advice.
    """
    if isinstance(error, RunFailed):
        return error
    text = " ".join(str(error).split())
    if isinstance(error, torch.OutOfMemoryError):
        return RunFailed(f"the GPU's memory does not suffice ({text[:120]}); {less_memory}")
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _says(text, CPU_MEMORY)):
        return RunFailed(f"the memory does not suffice ({text[-120:]}); {less_memory}, or give fewer --workers")
    if _says(text, SHARED_MEMORY):
        return RunFailed("the shared memory /dev/shm is full; enlarge it (docker: --shm-size) or give fewer --workers")
    worker = isinstance(error, RuntimeError) and "DataLoader worker" in text
    if worker or isinstance(error, ConnectionError | EOFError):  # the latter where its last batch was being read
        return RunFailed(
            f"a process that prepares images was killed ({text[:160] or type(error).__name__}), which the system does "
            "when memory runs out; give fewer --workers and repeat the command"
        )
    if isinstance(error, torch.distributed.DistError) or (isinstance(error, RuntimeError) and _says(text, LOST)):
        return ProcessLost("another process of this run has ended; its own message says why")
    return _of_system(error)


def _says(text: str, phrases: tuple[str, ...]) -> bool:
    return any(phrase in text for phrase in phrases)


def _of_system(error: Exception) -> RunFailed | None:
    """Return the failure that an error of the operating system amounts to, if it is one that people can mend."""
    advice = {
        errno.ENOSPC: "free some space and repeat the command",
        errno.EDQUOT: "free some of your quota and repeat the command",
        errno.ENOMEM: "free some memory or give fewer --workers, and repeat the command",
        errno.EMFILE: "raise the limit on open files (ulimit -n) or give fewer --workers",
        errno.EIO: "look at the disk",
        errno.ESTALE: "the network file system was away; repeat the command",
    }
    if not isinstance(error, OSError) or error.errno not in advice:
        return None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunFailed(f"{error.filename or 'a file'} cannot be written ({error.strerror}); {advice[error.errno]}")
    where = f"{error.filename}: " if error.filename else ""
    return RunFailed(f"{where}{error.strerror}; {advice[error.errno]}")
