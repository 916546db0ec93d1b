"""Making the index of shards that others have written: every shard's headers are read once, the result is kept.

The order of the images is that of their names over all shards, as a folder of the same images would have it. Local
shards are read header by header; those of a service whole, since a request a header would take longer. The index lies
in the user's cache folder and is made anew when a shard's size or date changes.
"""

import heapq
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock

from benchmark.core.errors import UserError
from benchmark.core.files import CannotWrite, sha256_of
from benchmark.core.log import say
from benchmark.core.progress import progress
from pretrain.images.names import Names
from pretrain.shards.index_file import Index, ShardFile, open_index, write_index
from pretrain.shards.samples import content_of, key_and_field
from pretrain.shards.storage import is_remote, parts_of, split, stamp
from pretrain.shards.tar_members import BLOCK, members

VARIABLE = "SSL_CACHE"
LARGEST = 2**32 - 1  # what an array of the index holds; no image is larger


def cache_folder() -> Path:
    """Return the folder of indices made here: ``$SSL_CACHE``, otherwise one in the platform's cache folder."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given).expanduser().absolute()
    return Path(platformdirs.user_cache_dir("ssl-detection-benchmark", appauthor=False)) / "shards"


def cached_index(shards: Sequence[str]) -> Path:
    """Return the path of the index of these shards, made now where there is none yet.

    Raises:
        UserError: a shard is missing, damaged or no tar archive; a name comes twice; the cache cannot be written.
    """
    stamps = [stamp(shard) for shard in shards]
    path = cache_folder() / f"{sha256_of([os.path.abspath(s) if not is_remote(s) else s for s in shards])[:20]}.index"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # the other processes of a run wait for the first
            if not _is_of(path, shards, stamps):
                write_index(path, scan(shards, stamps))
    except CannotWrite as error:
        raise UserError(f"{error} (the index of the shards; ${VARIABLE} moves its folder).") from None
    except OSError as error:
        raise UserError(
            f"{path.parent} cannot hold the index of the shards ({error.strerror or error}); set ${VARIABLE} to a "
            "folder that can be written."
        ) from None
    return path


def _is_of(path: Path, shards: Sequence[str], stamps: Sequence[dict]) -> bool:
    """Say whether there is an index of exactly these shards as they are now."""
    try:
        found = open_index(path).shards
    except UserError:  # none, or a damaged one
        return False
    now = [ShardFile(shard, s["size"], None, s["changed"]) for shard, s in zip(shards, stamps, strict=True)]
    return list(found) == now


@dataclass(frozen=True)
class _Scanned:
    """The images of one shard in the order of their names; ``labels`` are numbers in the list of classes, or -1."""

    names: Names
    blocks: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray


def scan(shards: Sequence[str], stamps: Sequence[dict]) -> Index:
    """Read the headers of all shards and return their index. Errors: see ``cached_index``."""
    total = sum(s["size"] or 0 for s in stamps)
    if any(map(is_remote, shards)):
        say(
            f"reading {len(shards)} shard(s), {total / 1e9:.3g} GB, once to index them; shards written by "
            "pretrain/pack.py bring their index along"
        )
    classes: dict[str, int] = {}
    scanned, passed_over = [], 0
    for shard, s in progress(list(zip(shards, stamps, strict=True)), "indexing", "shard"):
        if s["size"] is None:
            raise UserError(f"the server does not say how large {shard} is, so its images cannot be found; copy it.")
        try:
            found, over = _scan_one(shard, s["size"], classes)
        except OSError as error:
            raise UserError(f"{shard} cannot be read ({error.strerror or error}); check --data.") from None
        scanned.append(found)
        passed_over += over
    if passed_over:
        say(f"{passed_over:,} further images of samples (such as seg.png beside jpg) are passed over")
    return _joined(shards, stamps, scanned, classes)


def _scan_one(shard: str, size: int, classes: dict[str, int]) -> tuple[_Scanned, int]:
    part = parts_of(shard)
    content = content_of(members(part, size, shard), part, shard)
    images = sorted(content.images, key=lambda member: member.name)
    labels = array("i")
    for image in images:
        found = content.classes.get(key_and_field(image.name)[0])
        labels.append(-1 if found is None else classes.setdefault(found, len(classes)))
    blocks = np.array([image.offset // BLOCK for image in images], np.uint32)
    sizes = np.array([min(image.size, LARGEST) for image in images], np.uint32)
    names = Names(image.name for image in images)
    return _Scanned(names, blocks, sizes, np.array(labels, np.int32)), content.passed_over


def _joined(shards: Sequence[str], stamps: Sequence[dict], scanned: list[_Scanned], classes: dict[str, int]) -> Index:
    """Merge the images of all shards in the order of their names."""
    places = array("q")  # of each image in all shards' images one after the other
    names = Names(_merged(shards, scanned, places))
    order = np.frombuffer(places, np.int64)
    arrays = {
        "shard": np.repeat(np.arange(len(shards), dtype=np.uint32), [len(one.names) for one in scanned])[order],
        "block": np.concatenate([one.blocks for one in scanned])[order],
        "size": np.concatenate([one.sizes for one in scanned])[order],
    }
    known = _sorted_classes(classes)
    if known:
        places_of = np.array([*(known.index(name) for name in classes), -1], np.int32)  # [-1] stays without
        arrays["label"] = places_of[np.concatenate([one.labels for one in scanned])[order]]
    files = tuple(ShardFile(shard, s["size"], None, s["changed"]) for shard, s in zip(shards, stamps, strict=True))
    folder = split(files[0].name)[0]
    title = split(folder)[1] if folder.count("/") > 2 or not is_remote(folder) else ""  # no server's name
    return Index(files, names, title or "shards", arrays, tuple(known), {})


def _merged(shards: Sequence[str], scanned: list[_Scanned], places: array) -> Iterator[str]:
    """Yield all names in order, noting each one's place; refuse one that two shards hold."""
    begins = np.cumsum([0, *(len(one.names) for one in scanned)])
    streams = (_placed(one.names, number, int(begins[number])) for number, one in enumerate(scanned))
    before, holder = None, 0
    for name, number, place in heapq.merge(*streams):
        if name == before:
            raise UserError(
                f"{shards[holder]} and {shards[number]} both hold {name}; pack them again with one key for each sample."
            )
        before, holder = name, number
        places.append(place)
        yield name


def _placed(names: Names, shard: int, begin: int) -> Iterator[tuple[str, int, int]]:
    """Yield the names of one shard with its number and each one's place."""
    for place, name in enumerate(names, begin):
        yield name, shard, place


def _sorted_classes(classes: dict[str, int]) -> list[str]:
    """Return the classes in order: numbers by their value, names as text."""
    if all(name.isascii() and name.isdigit() for name in classes):
        return sorted(classes, key=lambda name: (int(name), name))
    return sorted(classes)
