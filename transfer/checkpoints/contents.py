"""What a file holds once it is read: its content, and every tensor in it with its path of keys."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

NOT_A_MODEL = re.compile(r"optim|scheduler|scaler|^rng|^callbacks$|^meters$")
DEEPEST = 12  # dictionaries within dictionaries
LONGEST = 300  # characters of a name, its keys joined; no network's are longer
MOST_TENSORS = 10_000

Path = tuple[str, ...]


class TooManyTensors(Exception):
    """A file holds more tensors than any checkpoint of a ResNet."""


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds.

    Attributes:
        content: as read; nested dictionaries in a checkpoint, but a file may hold anything.
        kind: ``torch``, ``pickle`` or ``safetensors``.
        metadata: the strings of a safetensors file, else empty.
    """

    content: Any
    kind: str
    metadata: dict[str, str]

    @cached_property
    def tensors(self) -> list[tuple[Path, Tensor]]:
        """Every tensor (numpy arrays as tensors) with its path of keys, see ``flatten``."""
        return flatten(self.content)


def flatten(content: Any) -> list[tuple[Path, Tensor]]:
    """Return every tensor of nested dictionaries and modules with its path of keys, as stored.

    Optimiser states and the like are passed over: they hold tensors under a model's names, but not the model. So are
    dictionaries that were met before (a pickle may hold itself), and names longer than any network's.

    Raises:
        TooManyTensors: there are more than ``MOST_TENSORS``.
    """
    found: list[tuple[Path, Tensor]] = []
    seen: set[int] = set()
    waiting: list[tuple[Path, Any]] = [((), content)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, nn.Module):
            value = value.state_dict()
        tensor = _as_tensor(value)
        if tensor is not None:
            found.append((path, tensor))
        elif isinstance(value, dict) and id(value) not in seen:  # other mappings (OmegaConf's) hold settings
            seen.add(id(value))
            waiting += [((*path, key), inner) for key, inner in reversed(value.items()) if _is_name(path, key)]
        if len(found) > MOST_TENSORS:
            raise TooManyTensors(f"it holds more than {MOST_TENSORS:,} tensors")
    return found


def _is_name(path: Path, key: Any) -> bool:
    if not isinstance(key, str) or len(path) >= DEEPEST or sum(map(len, path)) + len(key) > LONGEST:
        return False
    return bool(path) or not NOT_A_MODEL.search(key)


def _as_tensor(value: Any) -> Tensor | None:
    """Return a tensor or an array of numbers as a tensor, None for all else (nested tensors have no one shape)."""
    if isinstance(value, Tensor):
        return None if value.is_nested else value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiuc":
        return None
    try:
        return torch.from_numpy(np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("=")))
    except TypeError:  # a kind of number that torch has not
        return None
