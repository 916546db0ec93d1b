"""Writing one shard, whole or not at all, and the note of what is in it (a piece of the later index)."""

import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO

import numpy as np

from benchmark.core.files import atomic_writer
from pretrain.packing.prepare import Prepared
from pretrain.shards.samples import key_and_field
from pretrain.shards.tar_members import BLOCK


@dataclass
class Piece:
    """What one shard holds, of the images from number `begin` to before `end`.

    Attributes:
        shard: its file's name.  size: bytes.  sha256: of the file.
        members: [number of the image, block of 512 bytes where its content begins, bytes, CRC-32] of each.
        skipped: [number, what is wrong with it] of each image that cannot be read.
        resized: how many were.  joined: how many share webdataset's key with the image before them.
    """

    shard: str
    begin: int
    end: int
    size: int = 0
    sha256: str = ""
    members: list[list[int]] | np.ndarray = field(default_factory=list)
    skipped: list[list] = field(default_factory=list)
    resized: int = 0
    joined: int = 0

    def to_json(self) -> str:
        """Return it as a line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def of_json(cls, text: str) -> "Piece":
        """Return the piece that ``to_json`` wrote. Raises ``ValueError`` or ``TypeError`` for anything else."""
        return cls(**json.loads(text))


def compact(piece: Piece) -> Piece:
    """Return a piece with its members as an (n, 4) uint32 array: 16 bytes an image instead of 200."""
    return replace(piece, members=np.array(piece.members, np.uint32).reshape(-1, 4))


def write_shard(
    path: Path, images: Iterator[Prepared], begin: int, limit: int, named: Callable[[int], tuple[str, int | None]]
) -> Piece:
    """Write the next images into a shard until it has `limit` bytes or there are no more; return what is in it.

    No file is written where none of the images can be read.

    Args:
        path: of the shard.  images: from number `begin` on.  limit: bytes after which it is full.
        named: returns an image's name and its class's number, None without, by the image's number.

    Raises:
        CannotWrite: the disk is full, say.  Errors of `images` are passed on.
    """
    piece = Piece(path.name, begin, begin)
    first = _next_whole(images, piece)
    if first is None:
        return piece
    with atomic_writer(path) as file:
        tar = _Tar(file, piece)
        while first is not None:
            tar.add(first, *named(first.number))
            first = _next_whole(images, piece) if tar.size < limit else None
        tar.finish()
    return piece


def _next_whole(images: Iterator[Prepared], piece: Piece) -> Prepared | None:
    """Return the next image that can be read, noting those that cannot; None when there are no more."""
    for image in images:
        piece.end = image.number + 1
        if image.content is not None:
            return image
        piece.skipped.append([image.number, image.why])
    return None


class _Tar:
    """A tar archive on its way into a file: GNU's format, nothing in it that depends on time or user."""

    def __init__(self, file: IO[bytes], piece: Piece):
        self._file, self._piece, self._digest, self._key = file, piece, hashlib.sha256(), ""
        self.size = 0

    def add(self, image: Prepared, name: str, label: int | None) -> None:
        """Append an image, and its class where its sample has none yet."""
        offset = self._append(name, image.content)
        self._piece.members.append([image.number, offset // BLOCK, len(image.content), zlib.crc32(image.content)])
        self._piece.resized += image.resized
        key = key_and_field(name)[0]
        self._piece.joined += key == self._key
        if label is not None and key != self._key:
            self._append(f"{key}.cls", str(label).encode())
        self._key = key

    def finish(self) -> None:
        """Write the end mark, and note size and checksum."""
        self._write(b"\0" * 2 * BLOCK)
        self._write(b"\0" * (-self.size % tarfile.RECORDSIZE))
        self._piece.size, self._piece.sha256 = self.size, self._digest.hexdigest()

    def _append(self, name: str, content: bytes) -> int:
        """Write one member; return where its content begins."""
        header = tarfile.TarInfo(name)
        header.size, header.mode = len(content), 0o444
        self._write(header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
        offset = self.size
        self._write(content)
        self._write(b"\0" * (-len(content) % BLOCK))
        return offset

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self.size += len(content)
