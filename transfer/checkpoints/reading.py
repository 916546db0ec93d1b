"""Reading files from strangers without executing code from them.

A file is judged by its first bytes, never by its name. A pickle can call any function it names; so torch files are
read by ``torch.load(weights_only=True)`` and plain pickles (Detectron2's) by an unpickler of our own, and both know
only the names listed here. ``trust=True`` lifts that, for files whose author the user trusts.
"""

import argparse
import contextlib
import pickle
import re
import types
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from benchmark.core.errors import UserError

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6: a pickled magic number
PICKLE_MAGIC = tuple(b"\x80" + bytes([protocol]) for protocol in (2, 3, 4, 5))
NUMERIC_KINDS = "biufcSUmM"  # of numpy dtypes: everything but objects and records


class Contents(NamedTuple):
    """What a file holds: its `content`, its `kind` and the string `metadata` of a safetensors file (else empty)."""

    content: Any
    kind: str
    metadata: dict[str, str]


def read_file(path: str | Path, *, trust: bool = False) -> Contents:
    """Read a checkpoint onto the CPU: a torch file of any age, a Detectron2 pickle or a safetensors file.

    Args:
        path: the file; its extension means nothing.
        trust: execute what the file's pickle asks for. Only for files whose author you trust.

    Raises:
        UserError: no such file, not readable, damaged, none of the three kinds, or it names a global that is not on the
            list.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise UserError(f"there is no file {path}; give the path of a checkpoint.")
        with open(path, "rb") as file:
            start = file.read(128)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give the path of a checkpoint.") from None
    if start.startswith((ZIP_MAGIC, LEGACY_TORCH_MAGIC)):
        return Contents(_read_torch(path, trust), "torch", {})
    if start.startswith(PICKLE_MAGIC):
        return Contents(_read_pickle(path, trust), "pickle", {})
    if start[8:9] == b"{":
        return _read_safetensors(path)
    raise UserError(f"{path} is no checkpoint: {_what_it_is(path, start)}; download or copy it again.")


def _what_it_is(path: Path, start: bytes) -> str:
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file that it points to"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it is a web page"
    if start.startswith(b"\x1f\x8b"):
        return "it is compressed by gzip; unpack it first"
    with open(path, "rb") as file:
        file.seek(257)
        if file.read(5) == b"ustar":
            return "it is a tar archive; torch files of that kind (before torch 0.4) cannot be read safely"
    return "it is neither a torch file, nor a pickle, nor safetensors"


def _read_safetensors(path: Path) -> Contents:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
            return Contents(tensors, "safetensors", dict(file.metadata() or {}))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({_short(error)}); download or copy it again.") from None


class _PlainDtype:
    """A pickled numpy dtype of numbers or text.

    Not numpy's own: its ``__setstate__`` believes a forged state, after which numpy takes a stranger's bytes for
    pointers to objects. Of the state only the order of bytes is read.
    """

    def __init__(self, code: str, align: bool = False, copy: bool = True):
        self.plain = np.dtype(code) if isinstance(code, str) else np.dtype(object)
        if self.plain.kind not in NUMERIC_KINDS:
            raise pickle.UnpicklingError("numpy values that are neither numbers nor text")

    def __setstate__(self, state: tuple) -> None:
        self.plain = self.plain.newbyteorder(state[1])


def _plain(dtype: Any) -> np.dtype:
    if not isinstance(dtype, _PlainDtype):
        raise pickle.UnpicklingError("numpy values of no dtype")
    return dtype.plain


def _numpy_scalar(dtype: _PlainDtype, data: bytes = b"") -> np.generic:
    """Rebuild a pickled numpy scalar; objects, which numpy would take as they come, are refused."""
    if not isinstance(data, (bytes, str)):
        raise pickle.UnpicklingError("a numpy scalar that is no number")
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, dtype=_plain(dtype), count=1)[0]


def _allowed_in_torch_files() -> list:
    """Return what ``weights_only`` reads beyond tensors: numpy scalars (by the names of numpy 1 and 2), Namespace."""
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    scalars = [(_numpy_scalar, f"{module}.scalar") for module in modules]
    return [*scalars, (_PlainDtype, "numpy.dtype"), argparse.Namespace]


def _read_torch(path: Path, trust: bool) -> Any:
    try:
        with open(path, "rb") as file:  # an open file: torch must not judge by the extension either
            if trust:
                return torch.load(file, map_location="cpu", weights_only=False, pickle_module=_trusting_pickle())
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
    return list(dict.fromkeys(found))


def _needs_trust(path: Path, names: list[str]) -> UserError:
    return UserError(
        f"{path} names {', '.join(names[:5])}, which could run code on reading; nothing was read. "
        "If you trust its author, give --trust."
    )


class _DetectronUnpickler(pickle.Unpickler):
    """Knows numpy arrays, scalars and dtypes, OrderedDict, and nothing else (Detectron2's own .pkl need no more)."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            known = {"_reconstruct": _empty_array, "scalar": _numpy_scalar}
        elif module in ("numpy.core.numeric", "numpy._core.numeric"):
            known = {"_frombuffer": _array_from_buffer}
        elif module == "numpy":
            known = {"ndarray": _NDARRAY, "dtype": _PlainDtype}
        elif module == "collections":
            known = {"OrderedDict": dict}
        elif module == "_codecs":
            known = {"encode": _latin1}
        else:
            known = {}
        if name not in known:
            raise _ForbiddenGlobal(f"{module}.{name}")
        return known[name]


class _ForbiddenGlobal(Exception):
    """A pickle named a global that is not on the list."""


_NDARRAY = object()  # stands for numpy's class where a pickle names it; calling that could make arrays of pointers


class _PlainArray(np.ndarray):
    """An array of numbers or text that is being unpickled."""

    def __setstate__(self, state: tuple) -> None:
        *version, shape, dtype, fortran, data = state
        super().__setstate__((*version, shape, _plain(dtype), fortran, data))


def _empty_array(kind: Any, shape: tuple, dtype: bytes) -> np.ndarray:
    return np.ndarray.__new__(_PlainArray, (0,), "b")  # filled by its __setstate__


def _array_from_buffer(data: Any, dtype: _PlainDtype, shape: tuple, order: str) -> np.ndarray:
    return np.frombuffer(data, dtype=_plain(dtype)).reshape(shape, order=order)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1")


def _read_pickle(path: Path, trust: bool) -> Any:
    try:
        with open(path, "rb") as file:
            if trust:
                return _TrustingUnpickler(file, encoding="latin1").load()
            return _DetectronUnpickler(file, encoding="latin1").load()
    except _ForbiddenGlobal as error:
        raise _needs_trust(path, [str(error)]) from None
    except Exception as error:  # the bytes of a stranger can make an unpickler raise anything
        raise UserError(f"{path} is damaged ({_short(error)}); download or copy it again.") from None


class _TrustingUnpickler(pickle.Unpickler):
    """The unpickler of ``--trust``: like pickle's, but a class of a package that is not installed becomes a shell.

    Lightning files name classes of the trainer's own packages; none of them is needed to read the tensors.
    """

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            return type(name, (_Shell,), {"__module__": module})


class _Shell(dict):
    """Stands for an object whose class is not installed: keeps its items and attributes, does nothing."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


def _trusting_pickle() -> types.ModuleType:
    """Return a stand-in for the pickle module, as ``torch.load`` takes it."""
    module = types.ModuleType("trusting_pickle")
    module.Unpickler = _TrustingUnpickler
    module.load = lambda file, **options: _TrustingUnpickler(file, **options).load()
    return module


def _short(error: Exception) -> str:
    text = str(error).partition("WeightsUnpickler error:")[2] or str(error)  # torch puts five lines of advice before it
    return " ".join(text.split())[:160] or type(error).__name__
