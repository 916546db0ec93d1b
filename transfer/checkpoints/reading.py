"""Reading files from strangers: nothing in them is executed, and none takes the time or the memory of a large one.

A file is judged by its first bytes. A pickle can call any function it names; so torch files are read by
``torch.load(weights_only=True)`` and plain pickles (Detectron2's) by an unpickler of our own, and both know only the
names listed here. Before that its checksums are compared and its cost is weighed (``preflight.py``). ``trust=True``
lifts both, for files whose author the user trusts.
"""

import argparse
import contextlib
import io
import pickle
import re
import stat
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from benchmark.core.errors import UserError
from pretrain.engine.archive import check_archive
from transfer.checkpoints.contents import MOST_TENSORS, Contents, TooManyTensors
from transfer.checkpoints.formats import (
    LEGACY_TORCH_MAGIC,
    PICKLE_MAGIC,
    ZIP_MAGIC,
    what_a_file_is,
    what_a_folder_is,
    what_an_archive_is,
)
from transfer.checkpoints.pickles import (
    ForbiddenGlobal,
    PlainDtype,
    PlainUnpickler,
    TrustingUnpickler,
    numpy_scalar,
    trusting_pickle,
)
from transfer.checkpoints.preflight import TooMuch, weigh

MOST_STRUCTURE = 64 * 2**20  # bytes that describe a file's tensors: of a torch file's pickle
MOST_HEADER = 16 * 2**20  # and of a safetensors file's header
LEGACY_PICKLES = 5  # magic number, version, system, the object, the keys of its storages
AGAIN = "download or copy it again"


def read_file(path: str | Path, *, trust: bool = False) -> Contents:
    """Read a checkpoint onto the CPU: a torch file of any age, a Detectron2 pickle or a safetensors file.

    Args:
        path: the file; its extension means nothing.
        trust: execute what the file's pickle asks for. Only for files whose author you trust.

    Raises:
        UserError: no such file, not readable, damaged, none of the three kinds, needing more than any checkpoint does,
            or naming a global that is not on the list.
    """
    path = Path(path)
    start, size = _first_bytes(path)
    try:
        if start.startswith(ZIP_MAGIC):
            _check_zip(path, size, trust)
            contents = Contents(_read_torch(path, trust), "torch", {})
        elif start.startswith(LEGACY_TORCH_MAGIC):
            if not trust:
                _weigh_pickles(path, size, LEGACY_PICKLES)
            contents = Contents(_read_torch(path, trust), "torch", {})
        elif start.startswith(PICKLE_MAGIC):
            contents = Contents(_read_pickle(path, size, trust), "pickle", {})
        elif start[8:9] == b"{" and not start.startswith(b"{"):
            contents = _read_safetensors(path, int.from_bytes(start[:8], "little"))
        else:
            raise UserError(f"{path} is not a checkpoint: {what_a_file_is(path, start)}.")
        len(contents.tensors)  # counted here, where too many of them are a mistake like any other
    except (TooMuch, TooManyTensors) as error:
        raise UserError(f"{path} is no checkpoint: {error}, which no checkpoint does; nothing was read.") from None
    return contents


def _first_bytes(path: Path) -> tuple[bytes, int]:
    """Return the beginning of a regular file and its size; raises ``UserError`` for all else."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise UserError(f"{path} {what_a_folder_is(path)}.")
        if not stat.S_ISREG(kind):
            raise UserError(f"{path} is no regular file but a device, a pipe or a socket; give a checkpoint's file.")
        with open(path, "rb") as file:
            return file.read(128), path.stat().st_size
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; give the path of a checkpoint.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give the path of a checkpoint.") from None
    except ValueError:  # a zero byte in the name
        raise UserError(f"{str(path)!r} is no name of a file; give the path of a checkpoint.") from None


def _check_zip(path: Path, size: int, trust: bool) -> None:
    """Compare a torch archive's checksums, and weigh the pickle in it. Raises ``UserError`` and ``TooMuch``."""
    other = what_an_archive_is(path)
    if other:
        raise UserError(f"{path} {other}.")
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > size:
            raise TooMuch("its parts are larger than the file")
        if trust:
            return
        for entry in entries:
            if entry.filename.lower().endswith(".pkl"):
                if entry.file_size > MOST_STRUCTURE:
                    raise TooMuch(f"it describes its tensors in {entry.file_size / 2**20:,.0f} MiB")
                entry.CRC = entry.CRC or None  # 0 where the checksum was left out, which check_archive passes over
                _weigh(path, io.BytesIO(archive.read(entry)), size)


def _weigh_pickles(path: Path, size: int, count: int) -> None:
    with open(path, "rb") as file:
        for _ in range(count):
            _weigh(path, file, size)


def _weigh(path: Path, file: Any, size: int) -> None:
    try:
        weigh(file, size)
    except TooMuch:
        raise
    except Exception as error:  # the bytes of a stranger can make pickletools raise anything
        raise UserError(f"{path} is damaged ({_short(error)}); {AGAIN}.") from None


def _read_safetensors(path: Path, header: int) -> Contents:
    if header > MOST_HEADER:
        raise UserError(
            f"{path} is not a checkpoint: it is neither a torch file, nor a pickle, nor safetensors; {AGAIN}."
        )
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if len(names) > MOST_TENSORS:
                raise TooManyTensors(f"it holds more than {MOST_TENSORS:,} tensors")
            return Contents({n: file.get_tensor(n) for n in names}, "safetensors", dict(file.metadata() or {}))
    except TooManyTensors:
        raise
    except Exception as error:  # a damaged header, or a kind of number that this torch has not
        raise UserError(f"{path} is damaged ({_short(error)}); {AGAIN}.") from None


def _allowed_in_torch_files() -> list:
    """Return what ``weights_only`` reads beyond tensors: numpy scalars (by the names of numpy 1 and 2), Namespace."""
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    scalars = [(numpy_scalar, f"{module}.scalar") for module in modules]
    return [*scalars, (PlainDtype, "numpy.dtype"), argparse.Namespace]


def _read_torch(path: Path, trust: bool) -> Any:
    try:
        with open(path, "rb") as file:  # an open file: torch must not judge by the extension either
            if trust:
                return torch.load(file, map_location="cpu", weights_only=False, pickle_module=trusting_pickle())
            with torch.serialization.safe_globals(_allowed_in_torch_files()):
                return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        names = [] if trust else _forbidden_globals(path, str(error))
        if names:
            raise _needs_trust(path, names) from None
        advice = "it is damaged" if trust else "it is damaged, or needs --trust if you trust its author"
        raise UserError(f"{path} cannot be read safely ({_short(error)}); {advice}.") from None
    except Exception as error:  # a damaged file makes torch raise half a dozen kinds
        raise UserError(f"{path} cannot be read as a torch file ({_short(error)}); is it whole?") from None


def _forbidden_globals(path: Path, message: str) -> list[str]:
    """Return the names that made torch refuse: all of them where torch can list them, else the first."""
    found = re.findall(r"(?:GLOBAL|Unsupported class) ([\w.]+)", message)
    with contextlib.suppress(Exception), torch.serialization.safe_globals(_allowed_in_torch_files()):
        found += torch.serialization.get_unsafe_globals_in_checkpoint(path)
    return [name[:80] for name in dict.fromkeys(found)]


def _needs_trust(path: Path, names: list[str]) -> UserError:
    return UserError(
        f"{path} names {', '.join(names[:5])}, which could run code on reading; nothing was read. "
        "If you trust its author, give --trust."
    )


def _read_pickle(path: Path, size: int, trust: bool) -> Any:
    try:
        if not trust:
            _weigh_pickles(path, size, 1)
        with open(path, "rb") as file:
            unpickler = TrustingUnpickler if trust else PlainUnpickler
            return unpickler(file, encoding="latin1").load()
    except (UserError, TooMuch):
        raise
    except ForbiddenGlobal as error:
        raise _needs_trust(path, [str(error)[:80]]) from None
    except Exception as error:  # the bytes of a stranger can make an unpickler raise anything
        raise UserError(f"{path} is damaged ({_short(error)}); {AGAIN}.") from None


def _short(error: Exception) -> str:
    text = str(error).partition("WeightsUnpickler error:")[2] or str(error)  # torch puts five lines of advice before it
    return " ".join(text.split())[:160] or type(error).__name__
