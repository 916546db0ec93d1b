"""The output folder of one run: who owns it, and that only one process works in it.

``run.json`` holds the identity of the run (config, weights, data). A folder with another identity is refused,
not resumed: a re-used folder would report method A's result as method B's.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmark.core.errors import UserError
from benchmark.core.files import CannotWrite, remove_parts, sha256_of, write_json
from benchmark.core.lock import LOCK_FILE, WAIT, FolderLock, lock_folder

ROOT = Path(__file__).resolve().parents[2]
# In a checkout its own results/; installed elsewhere, results/ of the folder where the command runs.
RESULTS = (ROOT if (ROOT / "pyproject.toml").is_file() else Path.cwd()) / "results"
IDENTITY_FILE = "run.json"
METRICS_FILE = "metrics.json"  # the log of training, a line each


def run_key(identity: dict[str, Any]) -> str:
    """Return the 10-digit key of a run, from everything that changes its result."""
    return sha256_of(identity)[:10]


class OutputFolder:
    """A claimed output folder. Use ``claim``; ``release`` (or the end of the process) frees its lock."""

    def __init__(self, path: Path, lock: FolderLock, resumed: bool):
        self.path = path
        self.resumed = resumed
        self._lock = lock

    def release(self) -> None:
        """Free the lock so that another process may continue the run."""
        self._lock.release()


def check_writable(folder: str | Path, flag: str) -> None:
    """Check that files can be made in `folder`, which need not exist yet; leaves nothing behind.

    Raises:
        UserError: it is no folder, cannot be made, has no room or no permission; `flag` names the option to change.
    """
    there = Path(folder).absolute()
    try:
        while not _exists(there):
            there = there.parent
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); choose another {flag}.") from None
    if not there.is_dir():
        raise UserError(f"{there} is a file, not a folder; choose another {flag}.")
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".probe.", suffix=".part") as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); choose another {flag}.") from None


def _exists(path: Path) -> bool:
    """Say whether something has this name. Raises ``OSError`` where nothing can have it (too long, below a file)."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def check_folder(path: str | Path, identity: dict[str, Any], flag: str = "--output") -> bool:
    """Check that `path` is free for, or belongs to, the run with this identity; writes nothing; `flag` is its option.

    Returns:
        True when the folder holds this very run (it can be resumed), False when it is new or empty.

    Raises:
        UserError: the folder holds another run (the differing settings are named), or files of something else.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file, not a folder; choose another {flag}.")
    contents = [item for item in path.iterdir() if not item.name.startswith(LOCK_FILE)] if path.is_dir() else []
    contents = [item for item in contents if not item.name.endswith(".part")]
    if not contents:
        return False
    if not (path / IDENTITY_FILE).is_file():
        raise UserError(f"{path} is not empty and holds no run of ours; choose another {flag} or empty it.")
    try:
        found = json.loads((path / IDENTITY_FILE).read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path / IDENTITY_FILE} is damaged; choose another {flag}.") from None
    wanted = json.loads(json.dumps(identity))
    if found != wanted:
        raise UserError(
            f"{path} belongs to another run ({_differences(found, wanted)}); choose another {flag}, or repeat the "
            "command that began it."
        )
    return True


def claim(
    path: str | Path, identity: dict[str, Any], *, resume: bool = True, wait: float = WAIT, flag: str = "--output"
) -> OutputFolder:
    """Take the folder for the run with this identity, creating it if needed.

    Args:
        path: the output folder.
        identity: JSON-able settings that decide the result; equal identity means the same run.
        resume: False refuses a folder that already holds this run.
        wait: seconds to wait for another process that works in the folder.
        flag: what names the folder on the command line, for messages.

    Raises:
        UserError: see ``check_folder``; also when another process works in the folder, or it cannot be written.
    """
    path = Path(path)
    check_writable(path, flag)
    check_folder(path, identity, flag)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another {flag}.") from None
    lock = lock_folder(path, wait, flag)
    try:
        resumed = check_folder(path, identity, flag)
        if resumed and not resume:
            raise UserError(f"{path} already holds this run and --no-resume was given; choose another {flag}.")
        remove_parts(path)
        if not resumed:
            write_json(path / IDENTITY_FILE, identity)
    except CannotWrite as error:
        lock.release()
        raise UserError(str(error)) from None
    except BaseException:
        lock.release()
        raise
    return OutputFolder(path, lock, resumed)


def _differences(found: Any, wanted: Any, prefix: str = "") -> str:
    """Name up to four settings that differ: ``epochs: 400 there, 800 here``."""
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return f"{prefix or 'settings'}: {found} there, {wanted} here"
    parts = []
    for key in sorted(set(found) | set(wanted)):
        if found.get(key) != wanted.get(key):
            name = f"{prefix}.{key}" if prefix else key
            parts.append(_differences(found.get(key), wanted.get(key), name))
    return "; ".join(parts[:4])
