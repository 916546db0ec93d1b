"""Plain pickles, such as Detectron2's ``.pkl``: an unpickler that knows numbers alone, and one that trusts."""

import pickle
import types
from typing import Any

import numpy as np

NUMERIC_KINDS = "biufcSUmM"  # of numpy dtypes: everything but objects and records


class ForbiddenGlobal(Exception):
    """A pickle named a global that is not on the list; the message is its name."""


class PlainDtype:
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
    if not isinstance(dtype, PlainDtype):
        raise pickle.UnpicklingError("numpy values of no dtype")
    return dtype.plain


def numpy_scalar(dtype: PlainDtype, data: bytes = b"") -> np.generic:
    """Rebuild a pickled numpy scalar; objects, which numpy would take as they come, are refused."""
    if not isinstance(data, (bytes, str)):
        raise pickle.UnpicklingError("a numpy scalar that is not a number")
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, dtype=_plain(dtype), count=1)[0]


class PlainUnpickler(pickle.Unpickler):
    """Knows numpy arrays, scalars and dtypes, OrderedDict, and nothing else (Detectron2's own .pkl need no more)."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a global; raises ``ForbiddenGlobal``."""
        known = _KNOWN.get(module, {})
        if name not in known:
            raise ForbiddenGlobal(f"{module}.{name}")
        return known[name]


class _PlainArray(np.ndarray):
    """An array of numbers or text that is being unpickled."""

    def __setstate__(self, state: tuple) -> None:
        *version, shape, dtype, fortran, data = state
        super().__setstate__((*version, shape, _plain(dtype), fortran, data))


def _empty_array(kind: Any, shape: tuple, dtype: bytes) -> np.ndarray:
    return np.ndarray.__new__(_PlainArray, (0,), "b")  # filled by its __setstate__


def _array_from_buffer(data: Any, dtype: PlainDtype, shape: tuple, order: str) -> np.ndarray:
    return np.frombuffer(data, dtype=_plain(dtype)).reshape(shape, order=order)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1")


_NDARRAY = object()  # stands for numpy's class where a pickle names it; calling that could make arrays of pointers
_ARRAYS = {"_reconstruct": _empty_array, "scalar": numpy_scalar}
_KNOWN: dict[str, dict[str, Any]] = {
    "numpy.core.multiarray": _ARRAYS,
    "numpy._core.multiarray": _ARRAYS,
    "numpy.core.numeric": {"_frombuffer": _array_from_buffer},
    "numpy._core.numeric": {"_frombuffer": _array_from_buffer},
    "numpy": {"ndarray": _NDARRAY, "dtype": PlainDtype},
    "collections": {"OrderedDict": dict},
    "_codecs": {"encode": _latin1},
}


class TrustingUnpickler(pickle.Unpickler):
    """The unpickler of ``--trust``: like pickle's, but a class of a package that is not installed becomes a shell.

    Lightning files name classes of the trainer's own packages; none of them is needed to read the tensors.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return the global, or a shell for what is not installed."""
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


def trusting_pickle() -> types.ModuleType:
    """Return a stand-in for the pickle module, as ``torch.load`` takes it."""
    module = types.ModuleType("trusting_pickle")
    module.Unpickler = TrustingUnpickler
    module.load = lambda file, **options: TrustingUnpickler(file, **options).load()
    return module
