"""Reading packed shards again, every byte, against the checksums of their index."""

import hashlib
import zlib

import numpy as np

from benchmark.core.errors import UserError
from benchmark.core.progress import progress
from pretrain.shards.find import index_beside
from pretrain.shards.index_file import INDEX, Index, open_index
from pretrain.shards.storage import joined, parts_of, stamp
from pretrain.shards.tar_members import BLOCK

STEP = 8 << 20  # bytes read at once
SHOWN = 5  # damaged shards and images that the sentence names


def verify(folder: str) -> None:
    """Compare all shards in a folder, local or remote, with their index; print what was found whole.

    Raises:
        UserError: there is no index, or shards are missing or damaged; they and their damaged images are named.
    """
    path = index_beside(folder)
    if path is None:
        raise UserError(f"{folder} holds no {INDEX}; give the folder that pretrain/pack.py wrote, packed completely.")
    index = open_index(path)
    total = sum(shard.size for shard in index.shards)
    damaged = []
    with progress(None, "verifying", "B", total=total) as shown:
        for number, shard in enumerate(index.shards):
            if said := _damage(joined(folder, shard.name), index, number):
                damaged.append(said)
            shown.update(shard.size)
    if damaged:
        more = f" and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else ""
        raise UserError(
            f"{len(damaged)} of {len(index.shards)} shards are not as they were packed: "
            f"{'; '.join(damaged[:SHOWN])}{more}; copy them again, or remove the folder and pack it again."
        )
    print(f"verified: {len(index.names):,} images in {len(index.shards):,} shards, {total / 1e9:.3g} GB, all as packed")


def _damage(path: str, index: Index, number: int) -> str:
    """Say what is wrong with a shard, '' where nothing is."""
    wanted = index.shards[number]
    try:
        size = stamp(path)["size"]
        if size not in (wanted.size, None):
            return f"{path} has {size:,} bytes instead of {wanted.size:,}"
        part, digest = parts_of(path), hashlib.sha256()
        for offset in range(0, wanted.size, STEP):
            digest.update(part(offset, min(STEP, wanted.size - offset)))
        if digest.hexdigest() == wanted.sha256:
            return ""
        part, found = parts_of(path), []
        for image in np.flatnonzero(index.arrays["shard"] == number):
            begin, length = BLOCK * int(index.arrays["block"][image]), int(index.arrays["size"][image])
            if zlib.crc32(part(begin, length)) != index.arrays["crc"][image]:
                found.append(index.names[int(image)])
        images = (
            f" in {', '.join(found[:SHOWN])}{' ...' if len(found) > SHOWN else ''}" if found else " beside its images"
        )
        return f"{path} differs{images}"
    except UserError as error:
        return str(error).partition(";")[0]
    except OSError as error:
        return f"{path} cannot be read ({error.strerror or error})"
