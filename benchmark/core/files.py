"""Writing files whole or not at all, and their hashes.

Every file that the project writes goes through here, so that a full disk, a folder that is gone or a missing right is
one kind of failure (``CannotWrite``), whatever library does the writing.
"""

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from benchmark.core.errors import RunFailed

ADVICE = {
    errno.ENOSPC: "free some space and repeat the command",
    errno.EDQUOT: "free some of your quota and repeat the command",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) and repeat the command",
    errno.EACCES: "check the permissions of the folder and repeat the command",
    errno.EPERM: "check the permissions of the folder and repeat the command",
    errno.EROFS: "choose a folder on a disk that can be written",
    errno.ENOENT: "its folder was removed or renamed meanwhile; put it back and repeat the command",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class CannotWrite(RunFailed, OSError):
    """A file cannot be written, as one process has found: no room, no right, no folder, a broken disk.

    ``errno`` and ``strerror`` are those of the operating system.
    """

    def __init__(self, path: str | Path, error: OSError):
        advice = ADVICE.get(error.errno or 0, "look at the disk and repeat the command")
        self.said = f"{path} cannot be written ({error.strerror or error}); {advice}"
        super().__init__(self.said)
        self.errno, self.strerror = error.errno, error.strerror

    def __str__(self) -> str:
        return self.said


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn an ``OSError`` of the block into ``CannotWrite``; for files that grow line by line."""
    try:
        yield
    except CannotWrite:
        raise
    except OSError as error:
        raise CannotWrite(path, error) from None


class _Target:
    """An open file that remembers its first error: libraries pass it on as an error of their own, or not at all."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = self.error or error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextlib.contextmanager
def _closed_quietly(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Close a file at the end of the block; what it could not write has been said by then, and is not said again."""
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            file.close()


@contextlib.contextmanager
def atomic_writer(
    path: str | Path, previous: str | Path | None = None, make_folder: bool = True
) -> Iterator[IO[bytes]]:
    """Yield a binary file that becomes `path` only when the block ends well: written, fsynced, renamed.

    A kill at any moment leaves the old file or the new one, never a part; on an error the temporary file is removed.

    Args:
        path: the file.
        previous: a name in the same folder under which the old file is kept, replacing what has that name.
        make_folder: whether a folder that is not there is made, or refused: that of a run is never made again.

    Raises:
        CannotWrite: the disk is full, the folder is gone or cannot be written.
    """
    path = Path(path)
    with writing(path):
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with _closed_quietly(os.fdopen(handle, "wb")) as file:
            target = _Target(file)
            try:
                yield target  # type: ignore[misc]
            except Exception:
                if target.error is not None:
                    raise CannotWrite(path, target.error) from None
                raise
            with writing(path):
                file.flush()
                os.fsync(file.fileno())
        with writing(path):
            os.chmod(temporary, 0o666 & ~_umask())
            if previous is not None and path.exists():
                _keep(path, Path(previous))
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def _keep(path: Path, previous: Path) -> None:
    """Give `path` the second name `previous`: a hard link, or where there are none, the file itself is renamed."""
    link = path.with_name(f".{previous.name}.link.part")
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
        os.replace(link, previous)
    except OSError:
        os.replace(path, previous)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut (not possible on every system, and then not needed)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_writer(path) as file:
        file.write(content)


def write_text(path: str | Path, content: str) -> None:
    """Write a UTF-8 text file atomically; what is not UTF-8 in a name is written as JSON does, ``\\udcff``."""
    write_bytes(path, content.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON atomically, indented. NaN and infinity are refused (``ValueError``): they are not JSON."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_with(
    path: str | Path,
    save: Callable[[IO[bytes]], None],
    previous: str | Path | None = None,
    make_folder: bool = True,
) -> None:
    """Write a file atomically by a function that saves into an open binary file (``torch.save``, ``savefig``).

    `previous`, `make_folder` and errors: see ``atomic_writer``.
    """
    with atomic_writer(path, previous, make_folder) as file:
        save(file)


def remove_parts(folder: str | Path) -> None:
    """Remove the temporary files that killed writers left in `folder`. Call it only by the folder's one owner."""
    for part in Path(folder).glob(".*.part"):
        part.unlink(missing_ok=True)


def sha256_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sha256_of(content: Any) -> str:
    """Return the SHA-256 of a JSON-able value, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
