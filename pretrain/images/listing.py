"""The images of a folder: a list of paths that stays small for millions, and their classes."""

import bisect
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.core.errors import UserError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif")
SIZED = 100  # files whose sizes enter the fingerprint: one stat each, also for 14 million images
BLOCK = 64  # names compressed together: neighbours differ in a few digits


class PathList:
    """File paths below one root, in order; 3 to 8 bytes a path, which worker processes share or are sent.

    Args:
        root: the folder.
        names: paths below it, in the order that the list shall have.
    """

    def __init__(self, root: str | Path, names: Iterable[str]):
        self.root = str(root)
        self._count = 0
        text, ends, digest = bytearray(), [], hashlib.sha256()
        encoded = map(os.fsencode, names)
        while block := list(islice(encoded, BLOCK)):
            joined = b"\0".join(block)
            digest.update(joined + b"\0")
            text += zlib.compress(joined, 1)
            ends.append(len(text))
            self._count += len(block)
        self._text, self._ends, self._digest = bytes(text), np.array(ends, np.int64), digest.hexdigest()
        self._latest: tuple[int, list[bytes]] = (-1, [])  # the block that was read last

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:
        """Return the path of image `index`, which counts from 0."""
        return os.path.join(self.root, self.name(index))

    def name(self, index: int) -> str:
        """Return the path of image `index` below the root."""
        if not 0 <= index < self._count:
            raise IndexError(index)
        number, place = divmod(index, BLOCK)
        if self._latest[0] != number:
            begin = self._ends[number - 1] if number else 0
            self._latest = (number, zlib.decompress(self._text[begin : self._ends[number]]).split(b"\0"))
        return os.fsdecode(self._latest[1][place])

    def evenly(self, count: int) -> "PathList":
        """Return `count` of the images, evenly spaced."""
        return PathList(self.root, (self.name(i * len(self) // count) for i in range(count)))

    def identity(self) -> dict[str, Any]:
        """Return what tells this set of images from another, wherever its folder lies.

        ``count``, and ``fingerprint``: 16 hexadecimal digits of the SHA-256 over all names below the folder and the
        sizes in bytes of up to 100 files, evenly spaced.
        """
        digest = hashlib.sha256(self._digest.encode())
        for place in range(0, len(self), -(-len(self) // SIZED)):
            try:
                digest.update(b"%d " % os.stat(self[place]).st_size)
            except OSError:  # it will be met, named and counted in training
                digest.update(b"none ")
        return {"count": len(self), "fingerprint": digest.hexdigest()[:16]}


def list_images(root: str | Path, limit: int | None = None) -> PathList:
    """Return all images under `root` (class folders or flat, any depth) in the order of their names.

    Args:
        root: a folder. Hidden files and folders are passed over, and so is what is no regular file (a pipe would make
            its reader wait for ever). Links are followed, except to a folder that the link itself lies in.
        limit: keep this many, evenly spaced; None keeps all.

    Raises:
        UserError: no such folder, a folder that cannot be listed, no images, or fewer than `limit`.
    """
    if not str(root):
        raise UserError("--data is empty; give it the folder that holds the images.")
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; give --data the folder that holds the images.")
    paths = PathList(root, _names(root))
    if not len(paths):
        raise UserError(f"{root} holds no images (looked for {', '.join(ENDINGS)} at any depth); check --data.")
    if limit is None:
        return paths
    if limit > len(paths):
        raise UserError(f"{root} holds {len(paths)} images, fewer than --images {limit}; give a smaller number.")
    return paths.evenly(limit)


@dataclass(frozen=True)
class _Folder:
    """A folder on the way down: its path below the root, its real path, and the folder that it was reached from."""

    inside: str
    real: str
    above: "_Folder | None"

    def leads_back(self, real: str) -> bool:
        """Say whether `real` is this folder or one that it was reached through."""
        folder: _Folder | None = self
        while folder is not None and folder.real != real:
            folder = folder.above
        return folder is not None


def _names(root: Path) -> Iterator[str]:
    """Yield the images' paths below `root` in sorted order, with one folder's entries in memory at a time."""
    waiting: list[str | _Folder] = [_Folder("", os.path.realpath(root), None)]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        else:
            waiting += reversed(_entries(root, item))


def _entries(root: Path, folder: _Folder) -> list[str | _Folder]:
    """Return the images and folders of one folder, sorted as their paths are: a folder's name ends with a slash."""
    found: dict[str, _Folder | None] = {}
    try:
        with os.scandir(os.path.join(root, folder.inside)) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if entry.is_file(follow_symlinks=False) or not _is_folder(entry):
                    if name.lower().endswith(ENDINGS) and _may_be_image(entry):
                        found[name] = None
                    continue
                real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(folder.real, name)
                if not (entry.is_symlink() and folder.leads_back(real)):
                    found[name + os.sep] = _Folder(os.path.join(folder.inside, name), real, folder)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be listed ({error.strerror}); check its permissions.") from None
    before = folder.inside + os.sep if folder.inside else ""
    return [found[name] or before + name for name in sorted(found)]


def _is_folder(entry: os.DirEntry) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _may_be_image(entry: os.DirEntry) -> bool:
    """Say whether an entry is a regular file, or a link to nowhere, which training will meet, name and count."""
    try:
        return entry.is_file() or not os.path.exists(entry.path)
    except OSError:
        return True


@dataclass(frozen=True)
class Labels:
    """``classes``: names, sorted. ``numbers``: (n,) int32, the class of each image of a list."""

    classes: tuple[str, ...]
    numbers: np.ndarray


def labels_from_folders(paths: PathList) -> Labels:
    """Return the classes of images that lie in one folder a class, as torchvision's ImageFolder reads them.

    The class is the first folder below the root.

    Raises:
        UserError: an image lies directly in the root, or all images lie in one class folder.
    """
    begins, names = [0], []
    while begins[-1] < len(paths):
        first = paths.name(begins[-1])
        folder, slash, _ = first.partition(os.sep)
        if not slash:
            raise UserError(
                f"the image {first} lies directly in {paths.root}, so it has no class; put the images into one folder "
                "a class, or choose a method that needs no labels."
            )
        names.append(folder)
        # Paths are sorted, so those of a class follow each other: the end is found in a few look-ups.
        inside = lambda i, start=folder + slash: not paths.name(i).startswith(start)  # noqa: E731
        begins.append(bisect.bisect_left(range(len(paths)), True, lo=begins[-1], key=inside))
    if len(names) < 2:
        raise UserError(f"{paths.root} has only the class {names[0]!r}; labels need two or more class folders.")
    classes = tuple(sorted(names))
    order = [classes.index(name) for name in names]
    return Labels(classes, np.repeat(np.array(order, np.int32), np.diff(begins)))
