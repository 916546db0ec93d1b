"""Images from a folder: which there are, in which order they come, and batches of two views for every process.

The order depends on (seed, epoch) and a view on (seed, epoch, image index) only. The global batch of an iteration is
a slice of the epoch's order and every process takes its slice of that, so the processes' batches joined in rank order
are the batch of a single process, whatever the number of processes and of workers.
"""

import ctypes
import hashlib
import os
import signal
import sys
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmark.errors import RunFailed, UserError
from pretrain.views import UnreadableImage, ViewSettings, two_views

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
REDRAWS = 16
UNREADABLE_LIMIT = 0.01


class ImagePaths(Sequence[Path]):
    """The paths of many images in two flat arrays, which a forked worker shares and a spawned one copies quickly.

    14 million paths of 30 characters take 0.5 GB instead of the several of as many ``Path`` objects, whose reference
    counts besides would copy them page by page into every worker.
    """

    def __init__(self, root: Path, names: bytes, ends: np.ndarray):
        self.root = root
        self._names = np.frombuffer(names, dtype=np.uint8)
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Path:  # type: ignore[override] - no slices: nothing here needs them
        return self.root / self.name(index)

    def name(self, index: int) -> str:
        """Return the path of image `index` relative to the root, with / between its parts."""
        index = range(len(self))[index]
        begin = int(self._ends[index - 1]) if index else 0
        return os.fsdecode(self._names[begin : int(self._ends[index])].tobytes())

    def fingerprint(self) -> str:
        """Return the SHA-256 of all relative names in order: equal lists give equal batches, wherever the root is."""
        digest = hashlib.sha256(self._ends.tobytes())
        digest.update(self._names.tobytes())
        return digest.hexdigest()


def list_images(root: str | Path) -> ImagePaths:
    """List the images under a folder, searched recursively, in an order that depends on their names only.

    Class folders or flat, symbolic links followed, hidden files and folders (a leading dot) left out; files count
    by their extension (`EXTENSIONS`, any case) and are not opened.

    Raises:
        UserError: no such folder, a file instead of a folder, a folder that cannot be read, or no image in it.
    """
    root = Path(root).absolute()
    if not root.exists():
        raise UserError(f"there is no folder {root}; give the folder of your images with --data.")
    if not root.is_dir():
        raise UserError(f"{root} is a file; give the folder that holds the images with --data.")
    names, ends = bytearray(), array("q")
    try:
        _collect(str(root), "", (os.path.realpath(root),), names, ends)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}); check its permissions.") from None
    if not ends:
        raise UserError(f"{root} holds no images ({' '.join(EXTENSIONS)}); give another folder with --data.")
    return ImagePaths(root, bytes(names), np.frombuffer(ends, dtype=np.int64))


def _collect(folder: str, prefix: str, parents: tuple[str, ...], names: bytearray, ends: "array[int]") -> None:
    """Append the images under `folder`, depth first, entries sorted by name; only one folder is held at a time."""
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    for name, is_folder in found:
        if is_folder:
            below = os.path.join(folder, name)
            real = os.path.realpath(below)
            if real not in parents:  # a link to a folder above would never end
                _collect(below, f"{prefix}{name}/", (*parents, real), names, ends)
        elif name.lower().endswith(EXTENSIONS):
            names += os.fsencode(prefix + name)
            ends.append(len(names))


def class_labels(paths: ImagePaths) -> tuple[np.ndarray, list[str]]:
    """Return each image's class and the sorted class names, from the first folder below the root.

    Returns:
        labels: (n,) int64, indices into the names.
        names: of the class folders.

    Raises:
        UserError: an image lies in no class folder, or there is only one class.
    """
    folders = []
    for index in range(len(paths)):
        folder, _, rest = paths.name(index).partition("/")
        if not rest:
            raise UserError(f"{paths[index]} lies in no class folder; sort the images into one folder a class.")
        folders.append(folder)
    names, labels = np.unique(np.array(folders), return_inverse=True)
    if len(names) < 2:
        raise UserError(f"{paths.root} has only the class {names[0]!r}; a classifier needs two or more.")
    return labels.astype(np.int64), [str(name) for name in names]


def epoch_length(n_images: int, global_batch: int) -> int:
    """Return the iterations in an epoch; the last images that fill no batch wait for another epoch's order.

    Raises:
        UserError: fewer images than one batch of all processes.
    """
    if n_images < global_batch:
        raise UserError(
            f"a batch of {global_batch} needs more than the {n_images} images there are; lower --batch-size or add "
            "images."
        )
    return n_images // global_batch


def epoch_order(n_images: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of the images in an epoch: a permutation, (n,) uint32 (4 bytes an image, 56 MB for 14 M)."""
    order = np.arange(n_images, dtype=np.uint32)
    np.random.default_rng((seed, epoch)).shuffle(order)
    return order


class Batch(NamedTuple):
    """One process's part of an iteration.

    Attributes:
        view_1, view_2: (B, 3, S, S) float32, normalised RGB.
        index: (B,) int64, place in the list of the image that is shown (of the replacement, where one was drawn).
        unreadable: paths of images found unreadable for the first time by this process, with the reason.
    """

    view_1: torch.Tensor
    view_2: torch.Tensor
    index: torch.Tensor
    unreadable: list[str]


def check_unreadable(unreadable: int, n_images: int) -> None:
    """Raise ``RunFailed`` when more than 1 % of the images have been found unreadable."""
    if unreadable > UNREADABLE_LIMIT * n_images:
        raise RunFailed(
            f"{unreadable} of {n_images} images cannot be read, more than {UNREADABLE_LIMIT:.0%}; mend or remove the "
            "files named above and start again."
        )


def make_loader(
    paths: Sequence[Path],
    *,
    views: ViewSettings,
    batch_size: int,
    seed: int,
    workers: int,
    rank: int = 0,
    world_size: int = 1,
    start_iteration: int = 0,
    total_iterations: int,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Return the batches of this process for iterations start_iteration .. total_iterations - 1, counted from 0.

    Args:
        paths: all images; the same list in every process.
        views: the recipe.
        batch_size: images of this process in a batch; a global batch is batch_size * world_size.
        seed: of order and views, at least 0.
        workers: processes that read and augment; 0 does it in this one. Does not change the batches.
        rank, world_size: of this process.
        start_iteration: where to go on; images of earlier iterations are not read.
        pin_memory: put batches into page-locked memory, for a GPU.

    Raises:
        UserError: a batch larger than the data, or a number out of range.
        RunFailed: (while iterating) so many unreadable images that no replacement could be drawn.
    """
    if batch_size < 1 or workers < 0 or seed < 0:
        raise UserError("--batch-size must be at least 1, --workers and --seed at least 0.")
    epoch_length(len(paths), batch_size * world_size)
    loader = DataLoader(
        _TwoViews(paths, views, seed),
        batch_sampler=_Schedule(len(paths), batch_size, seed, rank, world_size, start_iteration, total_iterations),
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_start_worker,
        multiprocessing_context=_start_method(workers),
        generator=torch.Generator(),  # the default would draw from, and so change, the run's own random state
        pin_memory=pin_memory,
    )
    return _batches(loader)


def _start_method(workers: int) -> str | None:
    """Fork where it is safe (Linux): workers start at once and share the path list."""
    return "fork" if workers and sys.platform == "linux" else None


def _start_worker(worker: int) -> None:
    """Keep a worker to one thread, and let it die with its parent even when that is killed with SIGKILL."""
    cv2.setNumThreads(0)
    if sys.platform == "linux":
        parent = os.getppid()
        set_parent_death_signal = 1
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


class _Draw(NamedTuple):
    """One place in a batch: the image and the epoch."""

    epoch: int
    index: int


class _Schedule:
    """The batch sampler: yields each iteration's draws of one process. Holds one epoch's order at a time."""

    def __init__(self, n_images: int, batch_size: int, seed: int, rank: int, world_size: int, start: int, total: int):
        self.n_images, self.batch_size, self.seed = n_images, batch_size, seed
        self.rank, self.world_size, self.start, self.total = rank, world_size, start, total

    def __len__(self) -> int:
        return max(0, self.total - self.start)

    def __iter__(self) -> Iterator[list[_Draw]]:
        global_batch = self.batch_size * self.world_size
        length = epoch_length(self.n_images, global_batch)
        order, order_epoch = None, -1
        for iteration in range(self.start, self.total):
            epoch, position = divmod(iteration, length)
            if epoch != order_epoch:
                order, order_epoch = epoch_order(self.n_images, self.seed, epoch), epoch
            begin = position * global_batch + self.rank * self.batch_size
            yield [_Draw(epoch, int(index)) for index in order[begin : begin + self.batch_size]]


class _Sample(NamedTuple):
    """Both views of an image (None when even replacements were unreadable), its index, and what was unreadable."""

    views: tuple[np.ndarray, np.ndarray] | None
    index: int
    unreadable: list[tuple[int, str]]


class _TwoViews(Dataset[_Sample]):
    def __init__(self, paths: Sequence[Path], views: ViewSettings, seed: int):
        self.paths, self.views, self.seed = paths, views, seed

    def __getitem__(self, draw: _Draw) -> _Sample:
        unreadable = []
        for index in self._candidates(draw):
            try:
                data = self.paths[index].read_bytes()
                # Keyed by the draw, so that a replacement is not a copy of that image's own views in this epoch.
                views = two_views(data, self.views, seed=self.seed, epoch=draw.epoch, index=draw.index)
                return _Sample(views, index, unreadable)
            except (UnreadableImage, OSError) as error:
                unreadable.append((index, f"{self.paths[index]}: {error}"))
        return _Sample(None, draw.index, unreadable)

    def _candidates(self, draw: _Draw) -> Iterator[int]:
        """The image drawn, then the replacements, which depend on (seed, epoch, image index) only."""
        yield draw.index
        replacements = np.random.default_rng((self.seed, draw.epoch, draw.index, 2))  # 0 and 1 are the views
        for _ in range(REDRAWS):
            yield int(replacements.integers(len(self.paths)))


def _collate(samples: list[_Sample]) -> tuple[list[torch.Tensor] | None, list[tuple[int, str]]]:
    unreadable = [item for sample in samples for item in sample.unreadable]
    if any(sample.views is None for sample in samples):
        return None, unreadable
    stacked = [torch.from_numpy(np.stack([sample.views[view] for sample in samples])) for view in (0, 1)]
    return [*stacked, torch.tensor([sample.index for sample in samples])], unreadable


def _batches(loader: DataLoader) -> Iterator[Batch]:
    """Turn collated samples into batches; an unreadable image is named once."""
    known: set[int] = set()
    for tensors, unreadable in loader:
        new = {index: reason for index, reason in unreadable if index not in known}
        known |= new.keys()
        if tensors is None:
            raise RunFailed(
                f"{REDRAWS} replacements in a row cannot be read ({next(iter(new.values()), 'see above')}); mend or "
                "remove the unreadable images and start again."
            )
        yield Batch(*tensors, list(new.values()))
