"""Only one process works in a folder: a lock that ends with its process, and who holds it.

The lock is the operating system's (filelock: ``flock`` on Unix, ``msvcrt`` on Windows), so that a kill frees it;
processes that the holder has started do not inherit it. File systems without such locks (some NFS and Lustre mounts)
get a marker file instead, which filelock clears when its process is gone from the same machine.
"""

import contextlib
import errno
import json
import os
import platform
import warnings
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from benchmark.core.errors import UserError
from benchmark.core.files import write_json
from benchmark.core.log import say

LOCK_FILE, MARKER_FILE, OWNER_FILE = ".lock", ".lock.marker", ".lock.owner"
WAIT = 20.0  # seconds to wait for another process: one that was killed, or asked to stop, ends in that time
NO_LOCKS = {getattr(errno, name) for name in ("ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS") if hasattr(errno, name)}


class FolderLock:
    """The lock on a folder, held from ``lock_folder`` to ``release`` or the end of the process."""

    def __init__(self, folder: Path, lock: BaseFileLock):
        self.folder, self._lock = folder, lock

    def release(self) -> None:
        """Let another process work in the folder. A folder that is gone has nothing to release."""
        with contextlib.suppress(OSError):
            (self.folder / OWNER_FILE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._lock.release()


def lock_folder(folder: Path, wait: float = WAIT, flag: str = "--output") -> FolderLock:
    """Lock a folder that exists, waiting up to `wait` seconds for a process that holds it.

    `flag` is the folder's option, for messages.

    Raises:
        UserError: another process works there (its machine and number are named), or the file system fails.
    """
    try:
        lock = _acquired(FileLock(folder / LOCK_FILE, thread_local=False, fallback_to_soft=False), folder, wait, flag)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise UserError(_cannot(folder, error, flag)) from None
        say(f"warning: the file system of {folder} has no locks; a marker file is used instead")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                lock = _acquired(SoftFileLock(folder / MARKER_FILE, thread_local=False), folder, wait, flag)
        except OSError as failed:
            raise UserError(_cannot(folder, failed, flag)) from None
    write_json(folder / OWNER_FILE, {"host": platform.node(), "pid": os.getpid()})
    return FolderLock(folder, lock)


def _acquired(lock: BaseFileLock, folder: Path, wait: float, flag: str) -> BaseFileLock:
    """Acquire a lock, saying so when it is not free at once."""
    try:
        lock.acquire(timeout=0)
        return lock
    except Timeout:
        if wait > 0:
            say(f"{folder} is in use by {owner(folder)}; waiting up to {wait:g} s")
    try:
        lock.acquire(timeout=wait, poll_interval=0.1)
        return lock
    except Timeout:
        hint = f", or remove {lock.lock_file} if that one has ended" if isinstance(lock, SoftFileLock) else ""
        raise UserError(
            f"another process is working in {folder}: {owner(folder)}; wait for it or choose another {flag}{hint}."
        ) from None


def owner(folder: Path) -> str:
    """Return who holds the lock on a folder, in words: ``process 1234 on node7``."""
    try:
        found = json.loads((folder / OWNER_FILE).read_text(encoding="utf-8"))
        return f"process {int(found['pid'])} on {str(found['host'])[:100]}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that has not said which it is"


def _cannot(folder: Path, error: OSError, flag: str) -> str:
    if error.errno == getattr(errno, "ESTALE", None):
        return f"the network file system has lost {folder} ({error.strerror}); repeat the command when it is back."
    return f"{folder} cannot be locked ({error.strerror or error}); choose another {flag}."
