"""The images that --data names: a folder of images, or shards (a folder of .tar files, a pattern, an address)."""

import hashlib
import os
from pathlib import Path

import numpy as np

from benchmark.core.errors import UserError
from benchmark.core.files import CannotWrite, write_bytes
from pretrain.images.collection import Images, limited
from pretrain.images.listing import ENDINGS, list_images
from pretrain.shards.index_file import INDEX, open_index
from pretrain.shards.patterns import expand
from pretrain.shards.scanning import VARIABLE, cache_folder, cached_index
from pretrain.shards.shard_list import ShardList
from pretrain.shards.storage import ENDING, is_remote, joined, sizes, split, tars_in, whole

PIECES = ".pieces"  # the folder in which pretrain/pack.py keeps what it needs until all shards are written


def find_images(data: str | Path, limit: int | None = None) -> Images:
    """Return the images of a folder or of shards, in the order of their names.

    Args:
        data: a folder of images; a folder that holds .tar files and no images; ``DIR/train-{000000..000146}.tar``; or
            either as an address that fsspec reads (``s3://``, ``gs://``, ``https://`` ...).
        limit: keep this many, evenly spaced; None keeps all.

    Raises:
        UserError: there is nothing of this name, it cannot be read or is damaged, it holds no images, or fewer than
            `limit`.
    """
    data = str(data)
    if not names_shards(data):
        return list_images(data, limit)
    images = _open(data)
    if not len(images):
        raise UserError(f"{data} holds no images (looked for {', '.join(ENDINGS)} in its shards); check --data.")
    _check_parts_can_be_read(images)
    return limited(images, limit)


def names_shards(data: str) -> bool:
    """Say whether --data names shards: an address, .tar files, or a folder that holds them and no images."""
    if is_remote(data) or (data.endswith(ENDING) and not os.path.isdir(data)):
        return True
    if os.path.isfile(os.path.join(data, INDEX)) or os.path.isdir(os.path.join(data, PIECES)):
        return True
    try:
        with os.scandir(data or ".") as entries:
            names = {entry.name: entry.is_dir() for entry in entries if not entry.name.startswith(".")}
    except OSError:
        return False  # list_images says why
    shards = any(name.endswith(ENDING) and not folder for name, folder in names.items())
    return shards and not any(folder or name.lower().endswith(ENDINGS) for name, folder in names.items())


def _open(data: str) -> ShardList:
    """Return all images of the shards that a word names."""
    if not data.endswith(ENDING):
        return _open_folder(data)
    shards = [data] if not is_remote(data) and os.path.exists(data) else expand(data)
    if len(set(shards)) < len(shards):
        raise UserError(f"{data} names a shard twice.")
    folder = split(shards[0])[0]
    index = index_beside(folder) if all(split(shard)[0] == folder for shard in shards) else None
    if index is None:
        return ShardList(cached_index(shards), shards, data)
    return _some(index, folder, [split(shard)[1] for shard in shards])


def _open_folder(folder: str) -> ShardList:
    index = index_beside(folder)
    if index is not None:
        return _some(index, folder, [shard.name for shard in open_index(index).shards])
    shards = tars_in(folder)
    if not shards:
        raise UserError(f"{folder} holds no shards (files that end with {ENDING}); check --data.")
    return ShardList(cached_index(shards), shards, folder)


def index_beside(folder: str) -> str | Path | None:
    """Return the path, on this machine, of the index that pretrain/pack.py wrote into a folder; None without one.

    Raises:
        UserError: the folder is not packed completely, or the index cannot be read or kept here.
    """
    path = joined(folder, INDEX)
    if not is_remote(folder):
        if os.path.isfile(path):
            return path
        if os.path.isdir(os.path.join(folder, PIECES)):
            raise UserError(f"{folder} is not packed completely; repeat the command of pretrain/pack.py that began it.")
        return None
    content = whole(path)
    if content is None:
        return None
    here = cache_folder() / f"{hashlib.sha256(content).hexdigest()[:20]}.index"
    if not here.is_file():
        try:
            write_bytes(here, content)
        except (CannotWrite, OSError) as error:
            raise UserError(f"{error}; ${VARIABLE} moves the folder of indices.") from None
    return here


def _some(path: str | Path, folder: str, names: list[str]) -> ShardList:
    """Return the images of some shards that an index lists, after looking whether they are all there."""
    index = open_index(path)
    numbers = {shard.name: number for number, shard in enumerate(index.shards)}
    for name, found in zip(names, sizes([joined(folder, name) for name in names]), strict=True):
        if name not in numbers:
            raise UserError(f"{joined(folder, name)} is not in the index beside it ({INDEX}); pack the folder again.")
        wanted = index.shards[numbers[name]].size
        if found not in (wanted, None):
            raise UserError(
                f"the shard {joined(folder, name)} has {found:,} bytes, and its index says {wanted:,}; copy it again."
            )
    shards = [joined(folder, shard.name) for shard in index.shards]
    if len(names) == len(index.shards):
        return ShardList(path, shards, folder)
    wanted = np.isin(index.arrays["shard"], [numbers[name] for name in names])
    return ShardList(path, shards, folder, np.flatnonzero(wanted))


def _check_parts_can_be_read(images: ShardList) -> None:
    """Read the first image as training will: a server that sends only whole files is found out here."""
    try:
        images.read(0)
    except OSError as error:
        if is_remote(images[0]):
            raise UserError(
                f"{error}: the first image cannot be read as a part of its shard; the server must send parts of files "
                "(HTTP Range), or the shards must be copied here."
            ) from None
