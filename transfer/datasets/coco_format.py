"""COCO's annotation files: read once, checked, and summed up.

What Detectron2 would drop with a warning (a bad polygon) or meet hours into training (an unknown image, a mask of
another size, an object without a mask) is refused here, before anything is trained. The summary is small: a parsed
file of COCO's size takes gigabytes and is not kept.

Boxes without width or height are let through, because COCO 2017 itself has them (two in train2017): Detectron2's
DatasetMapper drops them in training. Boxes of negative width or height are refused.
"""

import gc
import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of_file

TOP_KEYS = ("images", "annotations", "categories")
IMAGE_KEYS = ("id", "file_name", "height", "width")
ANNOTATION_KEYS = ("id", "image_id", "category_id", "bbox", "area", "segmentation")
CATEGORY_KEYS = ("id", "name")
MIN_NUMBERS = 6  # of a polygon: three points


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
    sizes = _checked_images(annotations, content["images"])
    check_on_disk(images, (image["file_name"] for image in content["images"]), annotations)
    categories = _checked_categories(annotations, content["categories"])
    _check_annotations(annotations, content["annotations"], sizes, {identity for identity, _ in categories})
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


def _check_entries(path: Path, what: str, entries: list, problem: Callable[[dict], str | None]) -> None:
    """Raise ``UserError`` naming the first entry that has a problem, and how many more have one."""
    bad = [(number, found) for number, entry in enumerate(entries) if (found := problem(entry))]
    if bad:
        number, found = bad[0]
        identity = entries[number].get("id") if isinstance(entries[number], dict) else None
        name = f"{what} {identity}" if identity is not None else f"{what} number {number + 1}"
        more = f", and {len(bad) - 1} more are bad" if len(bad) > 1 else ""
        raise UserError(f"{name} in {path} {found}{more}; correct or remove it.")


def _check_unique(path: Path, what: str, values: list) -> None:
    """Raise ``UserError`` when a value occurs twice, such as ``image id``."""
    if len(set(values)) < len(values):
        seen: set = set()
        twice = next(value for value in values if value in seen or seen.add(value))
        raise UserError(f"{path} has the {what} {twice!r} more than once; make each unique.")


def _missing_keys(entry: Any, keys: Iterable[str]) -> str | None:
    if not isinstance(entry, dict):
        return "is no dictionary"
    missing = [key for key in keys if key not in entry]
    return f"has no {', '.join(map(repr, missing))}" if missing else None


def _checked_images(path: Path, images: list) -> dict[int, tuple[int, int]]:
    """Return ``{image id: (height, width)}``."""
    _check_entries(path, "image", images, _image_problem)
    _check_unique(path, "image id", [image["id"] for image in images])
    return {image["id"]: (image["height"], image["width"]) for image in images}


def _image_problem(image: dict) -> str | None:
    if found := _missing_keys(image, IMAGE_KEYS):
        return found
    if type(image["id"]) is not int:
        return "has an id that is no whole number"
    if not isinstance(image["file_name"], str) or not image["file_name"]:
        return "has no file name"
    if not all(type(image[side]) is int and image[side] > 0 for side in ("height", "width")):
        return f"has height {image['height']!r} and width {image['width']!r}, which must be whole numbers above 0"
    return None


def _checked_categories(path: Path, categories: list) -> tuple[tuple[int, str], ...]:
    _check_entries(path, "category", categories, _category_problem)
    if not categories:
        raise UserError(f"{path} has no categories; a detector needs at least one.")
    _check_unique(path, "category id", [category["id"] for category in categories])
    _check_unique(path, "category name", [category["name"] for category in categories])
    return tuple(sorted((category["id"], category["name"]) for category in categories))


def _category_problem(category: dict) -> str | None:
    if found := _missing_keys(category, CATEGORY_KEYS):
        return found
    if type(category["id"]) is not int or not isinstance(category["name"], str):
        return "needs a whole number as id and a text as name"
    return None


def _check_annotations(path: Path, annotations: list, sizes: dict[int, tuple[int, int]], known: set[int]) -> None:
    _check_entries(path, "annotation", annotations, lambda entry: _annotation_problem(entry, sizes, known))
    _check_unique(path, "annotation id", [annotation["id"] for annotation in annotations])


_fields = itemgetter(*ANNOTATION_KEYS)


def _annotation_problem(annotation: dict, sizes: dict[int, tuple[int, int]], known: set[int]) -> str | None:
    """Say what is wrong with an annotation, or None; called 860,000 times for COCO, hence the order of the checks."""
    try:
        identity, image_id, category_id, box, area, segmentation = _fields(annotation)
    except (KeyError, TypeError):
        return _missing_keys(annotation, ANNOTATION_KEYS)
    try:
        if type(identity) is not int:
            return "has an id that is no whole number"
        if image_id not in sizes:
            return f"belongs to image {image_id}, which is not in 'images'"
        if category_id not in known:
            return f"has category {category_id}, which is not in 'categories'"
        if annotation.get("ignore"):
            return "is marked 'ignore', which Detectron2 does not know (COCO marks crowds by 'iscrowd')"
        if not math.isfinite(area):
            return "has an area that is not finite"
        return _box_problem(box) or _mask_problem(segmentation, sizes[image_id])
    except (TypeError, ValueError, OverflowError, KeyError):
        return "has a value of a wrong type in its ids, box, area or mask"


def _box_problem(box: list) -> str | None:
    if len(box) != 4 or not math.isfinite(sum(box)):
        return f"has the box {box}, which must be four finite numbers (x, y, width, height)"
    if box[2] < 0 or box[3] < 0:
        return f"has the box {box} of negative width or height; boxes are (x, y, width, height)"
    return None


def _mask_problem(segmentation: Any, size: tuple[int, int]) -> str | None:
    if isinstance(segmentation, dict):
        return _run_length_problem(segmentation, size)
    if not isinstance(segmentation, list) or not segmentation:
        return "has no mask (an empty segmentation)"
    for polygon in segmentation:
        if not isinstance(polygon, list):
            return "has a bad polygon: a segmentation is a list of lists of numbers"
        if len(polygon) % 2:
            return f"has a bad polygon of {len(polygon)} numbers, which are no pairs of x and y"
        if len(polygon) < MIN_NUMBERS:
            return f"has a bad polygon of {len(polygon)} numbers, fewer than the {MIN_NUMBERS} of a triangle"
        if not math.isfinite(sum(polygon)):
            return "has a bad polygon: a coordinate is not finite"
    return None


def _run_length_problem(mask: dict, size: tuple[int, int]) -> str | None:
    counts = mask["counts"]
    if tuple(mask["size"]) != size:
        return f"has a run-length mask of size {mask['size']} in an image of {list(size)} (height, width)"
    if isinstance(counts, list):
        whole = min(counts, default=0) >= 0 and sum(counts) == size[0] * size[1]
        return None if whole else "has a run-length mask whose counts do not add up to the image's pixels"
    return None if isinstance(counts, str) and counts else "has a run-length mask without counts"
