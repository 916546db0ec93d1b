"""What a list of images offers, wherever they lie: their names in order, their sizes, their contents."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.core.errors import RunFailed, UserError

SIZED = 100  # images whose sizes enter the fingerprint: one look each, also for 14 million images


class SourceLost(RunFailed):
    """What holds the images (a shard, a server) does not answer: no image's own fault, and no reason to replace it."""


@dataclass(frozen=True)
class Labels:
    """``classes``: names, sorted. ``numbers``: (n,) int32, the class of each image of a list."""

    classes: tuple[str, ...]
    numbers: np.ndarray


class Images(ABC):
    """Images in the order of their names, which stand for paths below the root and have ``/`` between folders.

    Attributes:
        root: the folder, or whatever the names are relative to, in words.
        title: what people call the set, as records keep it.
    """

    root: str
    title: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> str:
        """Say where image `index`, which counts from 0, lies: a path, or a shard and what is in it."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the path of image `index` below the root."""

    @abstractmethod
    def size(self, index: int) -> int:
        """Return the bytes of image `index`. Raises ``OSError``."""

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Return the content of image `index`.

        Raises ``OSError`` where this image cannot be read, ``SourceLost`` where none can be.
        """

    @abstractmethod
    def evenly(self, count: int) -> "Images":
        """Return `count` of the images, evenly spaced."""

    @abstractmethod
    def names_digest(self) -> str:
        """Return the SHA-256 over all names, each followed by a null byte, 64 hexadecimal digits."""

    def own_labels(self) -> Labels | None:
        """Return the classes that are kept beside the images; None where there are none."""
        return None

    def identity(self) -> dict[str, Any]:
        """Return what tells this set of images from another, wherever and however it is kept.

        ``count``, and ``fingerprint``: 16 hexadecimal digits of the SHA-256 over all names and the sizes in bytes of up
        to 100 images, evenly spaced.
        """
        digest = hashlib.sha256(self.names_digest().encode())
        for place in range(0, len(self), -(-len(self) // SIZED)):
            try:
                digest.update(b"%d " % self.size(place))
            except OSError:  # it will be met, named and counted in training
                digest.update(b"none ")
        return {"count": len(self), "fingerprint": digest.hexdigest()[:16]}


def limited(images: Images, limit: int | None) -> Images:
    """Return `limit` of the images, evenly spaced, or all for None.

    Raises:
        UserError: there are fewer.
    """
    if limit is None:
        return images
    if limit > len(images):
        raise UserError(
            f"{images.root} holds {len(images)} images, fewer than --images {limit}; give a smaller number."
        )
    return images.evenly(limit)
