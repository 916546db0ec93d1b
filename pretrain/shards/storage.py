"""Files here and in object storage: how large they are, parts of them, and which shards a folder holds.

What has ``://`` in it is read by fsspec (s3, gs, https, memory, file ...), which brings each service's own package.
Nothing is kept open: worker processes inherit nothing, and thousands of shards need no thousands of handles.
"""

import os
import stat
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from benchmark.core.errors import UserError
from pretrain.images.collection import SourceLost

try:
    import fsspec
    from fsspec.core import url_to_fs
except ImportError:  # it comes with torch; a slim environment may lack it
    fsspec = None

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before a service is asked again
WINDOW = 8 << 20  # bytes that are fetched at once when a remote file is read from its beginning to its end
ENDING = ".tar"
Found = TypeVar("Found")


class Part(Protocol):
    """Returns `length` bytes of a file from `offset` on, fewer where it ends before."""

    def __call__(self, offset: int, length: int) -> bytes: ...


def is_remote(path: str) -> bool:
    """Say whether a path is read by fsspec."""
    return "://" in path


def stamp(path: str) -> dict[str, Any]:
    """Return what tells whether a file is still the same: ``size`` in bytes (None: unknown), ``changed``.

    Raises:
        UserError: there is no such file, it is no regular file, or it cannot be looked at.
    """
    if not is_remote(path):
        try:
            status = os.stat(path)
        except FileNotFoundError:
            raise UserError(f"the shard {path} is missing; check --data.") from None
        except OSError as error:
            raise UserError(f"the shard {path} cannot be read ({error.strerror}); check its permissions.") from None
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is no regular file; check --data.")
        return {"size": status.st_size, "changed": status.st_mtime_ns}
    try:
        found = _asked(path, lambda system, inside: system.info(inside))
    except FileNotFoundError:
        raise UserError(f"the shard {path} is missing; check --data.") from None
    except OSError as error:
        raise UserError(f"{error}; check --data and the rights to read it.") from None
    marks = [str(found[key]) for key in ("ETag", "etag", "LastModified", "mtime", "md5Hash") if found.get(key)]
    return {"size": found.get("size"), "changed": marks[0] if marks else None}


def sizes(paths: Sequence[str]) -> list[int | None]:
    """Return the size in bytes of each file of one folder, asked for all at once where a service can.

    Raises:
        UserError: as ``stamp``, of the first file that is not as it should be.
    """
    if paths and is_remote(paths[0]):
        try:
            return _asked(paths[0], lambda system, _: system.sizes([system._strip_protocol(path) for path in paths]))
        except OSError:
            pass  # one by one: which it is
    return [stamp(path)["size"] for path in paths]


def read_part(path: str, offset: int, length: int) -> bytes:
    """Return `length` bytes of a file from `offset` on, fewer where it ends before.

    Raises:
        SourceLost: the file cannot be opened, or its service does not answer after six tries in 16 s.
        OSError: this part of it cannot be read.
    """
    if is_remote(path):
        try:
            return _asked(path, lambda system, inside: system.cat_file(inside, offset, offset + length))
        except OSError as error:
            raise SourceLost(_lost(path, error)) from None
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise SourceLost(_lost(path, error)) from None
    with file:
        return _exactly(file, offset, length)


def _lost(path: str, error: OSError) -> str:
    return f"the shard {path} can no longer be read ({error.strerror or error}); the same command continues"


def _exactly(file: Any, offset: int, length: int) -> bytes:
    """Read from a raw file until there are `length` bytes or no more."""
    file.seek(offset)
    found = file.read(length)
    while found and len(found) < length and (more := file.read(length - len(found))):
        found += more
    return found


def parts_of(path: str) -> Part:
    """Return a reader for parts of one file from its beginning to its end, which keeps it open here.

    Raises:
        UserError: it cannot be opened.  Calls of the reader: ``OSError``.
    """
    if is_remote(path):
        return _Windows(path)
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise UserError(f"the shard {path} cannot be read ({error.strerror}); check its permissions.") from None
    return lambda offset, length: _exactly(file, offset, length)


class _Windows:
    """Parts of a remote file that is read forwards: fetched in windows, so that small parts cost no request each."""

    def __init__(self, path: str):
        self.path, self.begin, self.window = path, 0, b""

    def __call__(self, offset: int, length: int) -> bytes:
        inside = offset - self.begin
        if not 0 <= inside <= inside + length <= len(self.window):
            wanted = max(WINDOW, length)
            self.begin = offset
            self.window = _asked(self.path, lambda system, place: system.cat_file(place, offset, offset + wanted))
            if len(self.window) > wanted:
                raise OSError(
                    f"the server of {self.path} sends whole files where a part is asked for (HTTP Range), so images "
                    "cannot be read one by one"
                )
            inside = 0
        return self.window[inside : inside + length]


def tars_in(folder: str) -> list[str]:
    """Return the paths of the .tar files directly in a folder, sorted; hidden ones are passed over.

    Raises:
        UserError: it cannot be listed.
    """
    try:
        if is_remote(folder):
            names = [
                entry.rstrip("/") for entry in _asked(folder, lambda system, place: system.ls(place, detail=False))
            ]
        else:
            names = os.listdir(folder)
    except FileNotFoundError:
        raise UserError(f"there is no folder {folder}; check --data.") from None
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error.strerror or error}); check --data.") from None
    names = sorted({name.rsplit("/", 1)[-1] for name in names})
    return [joined(folder, name) for name in names if name.endswith(ENDING) and not name.startswith(".")]


def joined(folder: str, name: str) -> str:
    """Return the path of a file in a folder, local or remote."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.join(folder, name)


def split(path: str) -> tuple[str, str]:
    """Return folder and name of a path, local or remote."""
    folder, _, name = path.rpartition("/") if is_remote(path) else path.replace(os.sep, "/").rpartition("/")
    return folder or ("/" if path.startswith("/") else "."), name


def whole(path: str) -> bytes | None:
    """Return the content of a small file, None where there is none.

    Raises:
        UserError: it is there and cannot be read.
    """
    try:
        if is_remote(path):
            return _asked(path, lambda system, inside: system.cat_file(inside))
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); check --data.") from None


def _asked(path: str, question: Callable[[Any, str], Found]) -> Found:
    """Ask a file's service, again where it does not answer.

    Raises:
        UserError: there is no package for this kind of address.
        FileNotFoundError, PermissionError: the answer.  OSError: no answer, in one sentence.
    """
    if fsspec is None:
        raise UserError(f"reading {path} needs the package fsspec; pip install fsspec.")
    for wait in (*WAITS, None):
        try:
            system, inside = url_to_fs(path)  # kept by fsspec, anew in every process
        except ImportError as error:
            raise UserError(f"reading {path} needs another package ({_words(error)}).") from None
        except ValueError as error:
            raise UserError(f"{path} cannot be read: {_words(error)}.") from None
        try:
            return question(system, inside)
        except (PermissionError, NotADirectoryError):
            raise
        except Exception as error:  # each service raises its own kinds
            cause = error.__cause__ or error
            if isinstance(error, FileNotFoundError) and not _silent(error.__cause__):
                raise
            if wait is None or getattr(cause, "status", 500) in (401, 403, 416):
                raise OSError(f"{path} cannot be read ({type(cause).__name__}: {_words(cause)})") from None
        time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _silent(cause: BaseException | None) -> bool:
    """Say whether a file "not found" is one whose server did not answer, which fsspec's HTTP does not tell apart."""
    return isinstance(cause, OSError | TimeoutError) or getattr(cause, "status", 404) not in (404, 410)


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200]
