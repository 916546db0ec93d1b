"""Names of millions of images in a few bytes each."""

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

BLOCK = 64  # names compressed together: neighbours differ in a few digits
LONGEST = 4096  # bytes of a name, the most that a file system takes


class Names:
    """Names in order, 3 to 8 bytes each, which worker processes share or are sent.

    Args:
        names: in the order that they shall have.

    Attributes:
        digest: SHA-256 over all names, each followed by a null byte, 64 hexadecimal digits.
    """

    def __init__(self, names: Iterable[str]):
        self._count = 0
        text, ends, digest = bytearray(), [], hashlib.sha256()
        encoded = map(os.fsencode, names)
        while block := list(islice(encoded, BLOCK)):
            joined = b"\0".join(block)
            digest.update(joined + b"\0")
            text += zlib.compress(joined, 1)
            ends.append(len(text))
            self._count += len(block)
        self._text: bytes | np.ndarray = bytes(text)
        self._ends, self.digest = np.array(ends, np.int64), digest.hexdigest()
        self._latest: tuple[int, list[bytes]] = (-1, [])  # the block that was read last

    @classmethod
    def stored(cls, text: np.ndarray, ends: np.ndarray, count: int, digest: str) -> "Names":
        """Return names as ``parts`` gave them, without copying: (b,) uint8 and (k,) int64, also of a mapped file."""
        names = cls(())
        names._text, names._ends, names._count, names.digest = text, ends, count, digest
        return names

    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what a file keeps of them: the compressed text, (b,) uint8, and where each block ends, (k,) int64."""
        return np.frombuffer(self._text, np.uint8), self._ends

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:
        """Return name `index`, which counts from 0. Raises ``IndexError``, and ``ValueError`` where it is damaged."""
        if not 0 <= index < self._count:
            raise IndexError(index)
        number, place = divmod(index, BLOCK)
        if self._latest[0] != number:
            begin = self._ends[number - 1] if number else 0
            # At most what a block can hold: what others wrote must not fill the memory.
            block = zlib.decompressobj().decompress(self._text[begin : self._ends[number]], BLOCK * (LONGEST + 1))
            self._latest = (number, block.split(b"\0"))
        return os.fsdecode(self._latest[1][place])

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(self._count))


def digest_of(names: Iterable[str]) -> str:
    """Return the ``digest`` that these names would have, without keeping them."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(name) + b"\0")
    return digest.hexdigest()
