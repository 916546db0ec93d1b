"""Images in shards as a list like that of a folder: the same names, order, sizes and contents."""

import os
import posixpath
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.core.errors import UserError
from pretrain.images.collection import Images, Labels
from pretrain.images.names import digest_of
from pretrain.images.reading import MAX_BYTES
from pretrain.shards.index_file import Index, open_index
from pretrain.shards.storage import read_part
from pretrain.shards.tar_members import BLOCK


class ShardList(Images):
    """The images of a set of shards; a worker process is sent little more than the index's path.

    Args:
        path: of the index on this machine.
        shards: where each shard of the index lies, as paths or addresses.
        root: what the images' names are relative to, in words.
        chosen: (k,) numbers of the images in the index that the list holds, in order; None: all.
    """

    def __init__(self, path: str | os.PathLike, shards: Sequence[str], root: str, chosen: np.ndarray | None = None):
        self.path, self.root, self._shards, self._chosen = os.fspath(path), root, tuple(shards), chosen
        self.index: Index = open_index(path)
        self.title = self.index.title

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardList, (self.path, self._shards, self.root, self._chosen)

    def __len__(self) -> int:
        return len(self.index.names) if self._chosen is None else len(self._chosen)

    def __getitem__(self, index: int) -> str:
        """Return the shard of image `index`, which counts from 0, and its name in it."""
        return f"{self._shards[self._value('shard', index)]}: {self.name(index)}"

    def _number(self, index: int) -> int:
        """Return the number in the index of image `index` of the list."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return index if self._chosen is None else int(self._chosen[index])

    def _value(self, array: str, index: int) -> int:
        return int(self.index.arrays[array][self._number(index)])

    def name(self, index: int) -> str:
        """Return the name of image `index`."""
        return self.index.names[self._number(index)]

    def size(self, index: int) -> int:
        """Return the bytes of image `index`."""
        return self._value("size", index)

    def read(self, index: int) -> bytes:
        """Return the content of image `index`, by one read of this part of its shard.

        Raises:
            OSError: it is larger than 256 MB, cut off, or no longer what the index has a checksum of.
            SourceLost: its shard is gone, or its service does not answer.
        """
        size = self.size(index)
        if size > MAX_BYTES:
            raise OSError(f"{self[index]} is larger than {MAX_BYTES} bytes")
        content = read_part(self._shards[self._value("shard", index)], BLOCK * self._value("block", index), size)
        if len(content) != size:
            raise OSError(f"{self[index]} is cut off")
        if "crc" in self.index.arrays and zlib.crc32(content) != self._value("crc", index):
            raise OSError(f"{self[index]} is damaged: its checksum differs")
        return content

    def evenly(self, count: int) -> "ShardList":
        """Return `count` of the images, evenly spaced."""
        numbers = np.fromiter((self._number(i * len(self) // count) for i in range(count)), np.int64, count)
        return ShardList(self.path, self._shards, self.root, numbers)

    def names_digest(self) -> str:
        """Return the SHA-256 over all names, each followed by a null byte, 64 hexadecimal digits."""
        return self.index.names.digest if self._chosen is None else digest_of(map(self.name, range(len(self))))

    def own_labels(self) -> Labels | None:
        """Return the classes of the .cls files beside the images, numbered in their order; None without such files.

        Raises:
            UserError: an image has none while others have, or all have the same.
        """
        if "label" not in self.index.arrays:
            return None
        numbers = self.index.arrays["label"]
        numbers = numbers if self._chosen is None else numbers[self._chosen]
        without = np.flatnonzero(numbers < 0)
        if len(without) == len(numbers):
            return None
        if len(without):
            name = self.name(int(without[0]))
            key = posixpath.splitext(name)[0]
            raise UserError(
                f"{len(without):,} of {len(self):,} images in {self.root} have no class, such as {name}, which lacks "
                f"{key}.cls; pack them again with one for each, or choose a method that needs no labels."
            )
        used = np.unique(numbers)
        if len(used) < 2:
            raise UserError(f"{self.root} has only the class {self.index.classes[used[0]]!r}; labels need two or more.")
        places = np.zeros(len(self.index.classes), np.int32)
        places[used] = np.arange(len(used), dtype=np.int32)
        return Labels(tuple(self.index.classes[number] for number in used), places[numbers])
