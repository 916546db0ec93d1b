"""The type of a checked data set, and what COCO's and VOC's layout share: names for records, registration, objects."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from benchmark.core.errors import UserError

# (training images, test images) of the published sets; whatever else is called so is not them.
PUBLISHED = {"coco": (118_287, 5_000), "voc": (16_551, 4_952)}


@dataclass(frozen=True)
class DetectionData:
    """A checked data set whose parts are registered with Detectron2's catalogues.

    Attributes:
        task: ``coco`` (boxes and masks) or ``voc`` (boxes).
        name: for records: ``coco`` and ``voc`` are the published sets, ``embedded`` the composed one; otherwise the
            name of the root folder.
        root: the folder that holds everything.
        train, test: registered names.
        class_names: of the contiguous classes 0 to n - 1.
        category_ids: the data set's own id of each class; 1 to n for VOC.
        mask_format: ``INPUT.MASK_FORMAT``: ``polygon`` or ``bitmask``; ``none`` for VOC.
        train_images: number of images trained on: those with at least one object that is no crowd region.
        test_images: number of images evaluated on, with or without objects.
        fraction: share of the training images in use, in (0, 1], or None.
        image_ids: ids of that share, ascending (VOC: such as ``VOC2007/000005``), or None.
        fingerprint: SHA-256 of the annotations and of what was chosen from them; independent of the place on disk.
        files: annotation files and lists, and folders of images that are read.
    """

    task: str
    name: str
    root: Path
    train: tuple[str, ...]
    test: tuple[str, ...]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    mask_format: str
    train_images: int
    test_images: int
    fraction: float | None
    image_ids: tuple[int | str, ...] | None
    fingerprint: str
    files: tuple[Path, ...]
    _ground_truth: Callable[[], dict] | None = field(default=None, repr=False, compare=False)

    def ground_truth(self) -> dict[str, Any]:
        """Return the COCO dictionary (``images``, ``annotations``, ``categories``) of the images in `test`.

        Read anew at each call and the caller's to change. Raises ``ValueError`` for VOC, which has no such file.
        """
        if self._ground_truth is None:
            raise ValueError(f"{self.name} is in VOC's layout; it has no ground truth in COCO's format.")
        return self._ground_truth()


def name_for_records(task: str, root: Path, embedded: bool, images: tuple[int, int]) -> str:
    """Return the name for records; only the published sets are called ``coco`` and ``voc``."""
    if embedded:
        return "embedded"
    if images == PUBLISHED[task]:
        return task
    return f"{root.name}-other" if root.name in (*PUBLISHED, "embedded") else root.name


def name_of_test_split(task: str, root: Path, embedded: bool, images: int) -> str:
    """Return the name for records where the test split alone was read."""
    complete = images == PUBLISHED[task][1]
    return name_for_records(task, root, embedded, PUBLISHED[task] if complete else (0, images))


def register(name: str, load: Callable[[], list[dict]], **metadata: Any) -> str:
    if name not in DatasetCatalog:
        DatasetCatalog.register(name, load)
        MetadataCatalog.get(name).set(**metadata)
    return name


def check_objects(where: Path | str, ids: Iterable, with_objects: frozenset, purpose: str) -> int:
    """Return how many of the images hold an object; raise ``UserError`` when none does."""
    count = sum(identity in with_objects for identity in ids)
    if not count:
        raise UserError(f"none of the images for {purpose} in {where} holds an object; use more or other images.")
    return count
