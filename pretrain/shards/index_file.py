"""The index of a set of shards: where every image lies, in one file that is mapped into memory, never copied.

    SSLSHARDS 1 <length of the header>\\n  header (JSON)  padding  arrays, each at a multiple of 64 bytes

The arrays have one entry an image, in the order of the images' names: ``shard`` (uint32, its number in the header's
list), ``block`` (uint32, where its content begins, in 512 bytes), ``size`` (uint32, bytes), ``crc`` (uint32, CRC-32 of
its content; absent where unknown) and ``label`` (int32, its class's number in the header's list, -1 without; absent
where there are none). The names are two arrays of bytes (``pretrain/images/names.py``). Worker processes and runs on
one machine share the pages; 14 million images are 300 MB on the disk and next to nothing in any process.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.core.errors import UserError
from benchmark.core.files import atomic_writer
from pretrain.images.names import BLOCK as NAMES_TOGETHER
from pretrain.images.names import Names
from pretrain.shards.tar_members import BLOCK

INDEX = "index.shards"  # its name beside shards that pretrain/pack.py has written
MAGIC = b"SSLSHARDS 1 "
ALIGNED, LARGEST_HEADER = 64, 1 << 28
KINDS = {"shard": "<u4", "block": "<u4", "size": "<u4", "crc": "<u4", "label": "<i4", "names": "|u1", "ends": "<i8"}
OPTIONAL = ("crc", "label")


@dataclass(frozen=True)
class ShardFile:
    """One shard: its file's ``name``, ``size`` in bytes, ``sha256`` (None: unknown), when it ``changed`` (likewise)."""

    name: str
    size: int
    sha256: str | None = None
    changed: Any = None


@dataclass(frozen=True)
class Index:
    """An index in memory or mapped; arrays as in the module's text.

    Attributes:
        shards: the shards.  names: of the images.  title: of the set.
        arrays: ``shard``, ``block``, ``size`` and, where known, ``crc`` and ``label``, (n,) each.
        classes: names of the classes, empty without labels.
        notes: what else its maker wanted kept.
    """

    shards: tuple[ShardFile, ...]
    names: Names
    title: str
    arrays: Mapping[str, np.ndarray]
    classes: tuple[str, ...]
    notes: Mapping[str, Any]


def write_index(path: str | os.PathLike, index: Index) -> None:
    """Write an index, whole or not at all. Raises ``CannotWrite``."""
    text, ends = index.names.parts()
    arrays = {**index.arrays, "names": text, "ends": ends}
    sections, digest, offset = {}, hashlib.sha256(), 0
    for name, array in arrays.items():
        arrays[name] = array = np.ascontiguousarray(array, KINDS[name])
        sections[name] = [offset, len(array)]
        digest.update(array)
        offset += -(-array.nbytes // ALIGNED) * ALIGNED
    header = json.dumps({
        "images": len(index.names), "names_sha256": index.names.digest, "title": index.title,
        "shards": [[s.name, s.size, s.sha256, s.changed] for s in index.shards], "classes": index.classes,
        "notes": dict(index.notes), "sections": sections, "sha256": digest.hexdigest(),
    }).encode()  # fmt: skip
    begin = b"%b%d\n" % (MAGIC, len(header))
    with atomic_writer(path) as file:
        file.write(begin + header + b"\0" * (-(len(begin) + len(header)) % ALIGNED))
        for array in arrays.values():
            file.write(array.data)
            file.write(b"\0" * (-array.nbytes % ALIGNED))


def open_index(path: str | os.PathLike) -> Index:
    """Map an index into memory after checking it: sums, types, that everything lies where there is something.

    Raises:
        UserError: it cannot be read, is damaged, or is of another version.
    """
    try:
        return _checked(np.memmap(path, np.uint8, "r"), path)
    except OSError as error:
        raise UserError(f"the index {path} cannot be read ({error.strerror or error}).") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise UserError(
            f"the index {path} is damaged or of another version ({str(error)[:100]}); copy it again, or remove it: the "
            "shards are then read once to make another."
        ) from None


def _checked(content: np.ndarray, path: str | os.PathLike) -> Index:
    first = content[: len(MAGIC) + 12].tobytes().partition(b"\n")[0]
    if not first.startswith(MAGIC) or not first[len(MAGIC) :].isdigit():
        raise ValueError("it does not begin as one")
    begin, length = len(first) + 1, int(first[len(MAGIC) :])
    if length > min(LARGEST_HEADER, len(content)):
        raise ValueError("it is cut off")
    header = json.loads(content[begin : begin + length].tobytes())
    body = content[-(-(begin + length) // ALIGNED) * ALIGNED :]
    arrays, digest = {}, hashlib.sha256()
    for name, (offset, count) in header["sections"].items():
        kind = np.dtype(KINDS[name])
        arrays[name] = body[offset : offset + count * kind.itemsize].view(kind)
        if offset < 0 or len(arrays[name]) != count:
            raise ValueError("it is cut off")
        digest.update(arrays[name])
    if digest.hexdigest() != header["sha256"]:
        raise ValueError("its checksum differs")
    names = Names.stored(arrays.pop("names"), arrays.pop("ends"), header["images"], header["names_sha256"])
    shards = tuple(ShardFile(*shard) for shard in header["shards"])
    index = Index(shards, names, header["title"], arrays, tuple(header["classes"]), header["notes"])
    _check_places(index, header["images"])
    return index


def _check_places(index: Index, images: int) -> None:
    """Raise ``ValueError`` where an array has not one entry an image or points to where nothing is."""
    arrays = index.arrays
    wanted = {"shard", "block", "size"}
    if not wanted <= set(arrays) <= wanted | set(OPTIONAL) or any(len(array) != images for array in arrays.values()):
        raise ValueError("its arrays do not belong together")
    ends = index.names.parts()[1]
    text = index.names.parts()[0]
    whole = len(ends) == -(-images // NAMES_TOGETHER) and (not images or (ends[0] > 0 and ends[-1] == len(text)))
    if not whole or np.any(np.diff(ends) <= 0):
        raise ValueError("its names are cut off")
    if not images:
        return
    if arrays["shard"].max() >= len(index.shards):
        raise ValueError("it names a shard that it does not list")
    # A shard's content ends at a multiple of 512 bytes: compared so, nothing larger than the arrays is made.
    last = np.array([shard.size // BLOCK for shard in index.shards], np.uint32)
    if np.any(arrays["block"] + (arrays["size"] + np.uint32(BLOCK - 1)) // np.uint32(BLOCK) > last[arrays["shard"]]):
        raise ValueError("an image lies beyond the end of its shard")
    if "label" in arrays and not -1 <= arrays["label"].min() <= arrays["label"].max() < len(index.classes):
        raise ValueError("it names a class that it does not list")
