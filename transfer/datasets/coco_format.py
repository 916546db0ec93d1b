"""COCO's annotation files: read once, checked, and summed up.

What Detectron2 would drop with a warning (a bad polygon) or meet hours into training (an unknown image, a mask of
another size, an object without a mask) is refused here, before anything is trained. The summary is small: a parsed
file of COCO's size takes gigabytes and is not kept.

Boxes without width or height are let through, because COCO 2017 itself has them (two in train2017): Detectron2's
DatasetMapper drops them in training. Boxes of negative width or height are refused.
"""

import gc
import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of_file
from transfer.datasets.coco_checks import check_annotations, checked_categories, checked_images

TOP_KEYS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class CocoSplit:
    """What a checked annotation file holds.

    ``image_ids`` ascend; ``with_objects`` are the ids of images with at least one object that is no crowd region;
    ``categories`` are (id, name) by ascending id, Detectron2's order; ``run_length`` says whether a mask of such an
    object is run-length coded, so that the masks cannot be trained on as polygons.
    """

    annotations: Path
    images: Path
    sha256: str
    image_ids: tuple[int, ...]
    with_objects: frozenset[int]
    categories: tuple[tuple[int, str], ...]
    run_length: bool


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep Python's collector from walking through millions of new objects again and again: twice the speed."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_split(annotations: Path, images: Path) -> CocoSplit:
    """Read and check an annotation file whose images lie in the folder `images`.

    A file that has not changed since the last call in this process is not parsed again.

    Raises:
        UserError: the file is missing, unreadable, incomplete or contradicts itself, or images are not on disk.
    """
    try:
        status = os.stat(annotations)
    except OSError as error:
        raise UserError(f"{annotations} cannot be read ({error.strerror}); check --data.") from None
    return _read_split(annotations, images, (status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=8)
@_collector_paused()
def _read_split(annotations: Path, images: Path, _version: tuple[int, ...]) -> CocoSplit:
    content, sha256 = _load(annotations)
    sizes = checked_images(annotations, content["images"])
    check_on_disk(images, (image["file_name"] for image in content["images"]), annotations)
    categories = checked_categories(annotations, content["categories"])
    check_annotations(annotations, content["annotations"], sizes, {identity for identity, _ in categories})
    objects = [entry for entry in content["annotations"] if not entry.get("iscrowd", 0)]
    image_ids, used = tuple(sorted(sizes)), {entry["image_id"] for entry in objects}
    return CocoSplit(
        annotations=annotations,
        images=images,
        sha256=sha256,
        image_ids=image_ids,
        # The numbers of 'images', not of 'annotations': those lie all over the parsed file and would keep its memory.
        with_objects=frozenset(identity for identity in image_ids if identity in used),
        categories=categories,
        run_length=any(isinstance(entry["segmentation"], dict) for entry in objects),
    )


@_collector_paused()
def ground_truth(annotations: Path, image_ids: Collection[int]) -> dict[str, Any]:
    """Return the COCO dictionary of the images with these ids: ``images``, ``annotations`` and ``categories``.

    ``iscrowd`` is 0 where the file leaves it out. Annotations are numbered anew from 1 when an id is below 1, because
    COCO's evaluation takes a match with object 0 for no match.
    """
    content, _ = _load(annotations)
    images = [image for image in content["images"] if image["id"] in image_ids]
    objects = [{"iscrowd": 0, **entry} for entry in content["annotations"] if entry["image_id"] in image_ids]
    if any(entry["id"] < 1 for entry in objects):
        objects = [{**entry, "id": number} for number, entry in enumerate(objects, start=1)]
    return {"images": images, "annotations": objects, "categories": content["categories"]}


def check_on_disk(folder: Path, names: Iterable[str], listed_in: Path, what: str = "images") -> None:
    """Raise ``UserError`` unless every file is there: `names` are paths inside `folder`, which `listed_in` lists.

    Each folder is listed once; asking for each of 118,000 files in turn takes minutes on a network disk.
    """
    by_folder: dict[str, set[str]] = defaultdict(set)
    total = 0
    for name in names:
        inside, base = os.path.split(name)
        by_folder[inside].add(base)
        total += 1
    missing: list[str] = []
    for inside, wanted in by_folder.items():
        try:
            present = set(os.listdir(folder / inside))
        except OSError:  # no such folder, or none that may be read
            present = set()
        missing += [os.path.join(inside, base) for base in wanted - present]
    if missing:
        first = ", ".join(sorted(missing)[:3])
        raise UserError(
            f"{len(missing)} of the {total} {what} listed in {listed_in} are missing from {folder} "
            f"({first}{', ...' if len(missing) > 3 else ''}); complete the folder or check --data."
        )


def _load(path: Path) -> tuple[dict[str, Any], str]:
    """Return the parsed file, whose three lists are there, and the SHA-256 of its bytes."""
    try:
        sha256 = sha256_of_file(path)
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check --data.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable JSON ({error}); get the file again.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no COCO dictionary; it needs the keys {', '.join(TOP_KEYS)}.")
    for key in TOP_KEYS:
        if not isinstance(content.get(key), list):
            raise UserError(f"{path} has no list {key!r}; COCO's annotation files have {', '.join(TOP_KEYS)}.")
    return content, sha256
