"""The images of a folder: a list of paths that stays small for millions."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmark.core.errors import UserError
from pretrain.images.collection import Images, limited
from pretrain.images.names import Names
from pretrain.images.reading import read_image

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif")


class PathList(Images):
    """File paths below one root, in order; 3 to 8 bytes a path, which worker processes share or are sent.

    Args:
        root: the folder.
        names: paths below it, in the order that the list shall have.
    """

    def __init__(self, root: str | Path, names: Iterable[str]):
        self.root, self.title = str(root), Path(root).resolve().name
        self._names = Names(names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> str:
        """Return the path of image `index`, which counts from 0."""
        return os.path.join(self.root, self._names[index])

    def name(self, index: int) -> str:
        """Return the path of image `index` below the root."""
        return self._names[index]

    def size(self, index: int) -> int:
        """Return the bytes of image `index`. Raises ``OSError``."""
        return os.stat(self[index]).st_size

    def read(self, index: int) -> bytes:
        """Return the content of image `index`. Raises ``OSError``, see ``read_image``."""
        return read_image(self[index])

    def evenly(self, count: int) -> "PathList":
        """Return `count` of the images, evenly spaced."""
        return PathList(self.root, (self.name(i * len(self) // count) for i in range(count)))

    def names_digest(self) -> str:
        """Return the SHA-256 over all names below the folder, each followed by a null byte, 64 hexadecimal digits."""
        return self._names.digest


def list_images(root: str | Path, limit: int | None = None) -> Images:
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
    return limited(paths, limit)


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
