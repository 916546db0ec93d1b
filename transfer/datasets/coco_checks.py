"""Checks of COCO's annotations: everything that Detectron2, pycocotools or hotcoco would meet later, or crash on.

A coordinate of 1e300 ends pycocotools with a segmentation fault, a damaged run-length mask makes it read beyond its
memory, and ids that no 64-bit number holds fail after the whole training: all of it is refused here, in both splits.
"""

import math
from collections.abc import Callable, Iterable
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.core.errors import UserError

IMAGE_KEYS = ("id", "file_name", "height", "width")
ANNOTATION_KEYS = ("id", "image_id", "category_id", "bbox", "area", "segmentation")
CATEGORY_KEYS = ("id", "name")
MIN_NUMBERS = 6  # of a polygon: three points
MAX_ID = 2**53  # the evaluators keep ids as float64 or int64
MAX_SIDE = 65_535  # px of an image, as JPEG has it
FARTHEST = 10  # longer sides of its image that a coordinate may lie away from the corner
MAX_CHARACTERS = 7  # of a number in compressed run lengths: 35 bits
NO_ID = "has an id that is no whole number between -2^53 and 2^53"
WRONG_TYPE = "has a value of a wrong type in its ids, box, area or mask"


def _is_id(value: Any) -> bool:
    return type(value) is int and abs(value) <= MAX_ID


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


def checked_images(path: Path, images: list) -> dict[int, tuple[int, int]]:
    """Return ``{image id: (height, width)}``. Raises ``UserError`` naming the first image that is bad."""
    _check_entries(path, "image", images, _image_problem)
    _check_unique(path, "image id", [image["id"] for image in images])
    return {image["id"]: (image["height"], image["width"]) for image in images}


def _image_problem(image: dict) -> str | None:
    if found := _missing_keys(image, IMAGE_KEYS):
        return found
    if not _is_id(image["id"]):
        return NO_ID
    if not isinstance(image["file_name"], str) or not image["file_name"]:
        return "has no file name"
    if not all(type(image[side]) is int and 0 < image[side] <= MAX_SIDE for side in ("height", "width")):
        size = f"height {image['height']!r:.40} and width {image['width']!r:.40}"
        return f"has {size}, which must be whole numbers above 0 and at most {MAX_SIDE:,}"
    return None


def checked_categories(path: Path, categories: list) -> tuple[tuple[int, str], ...]:
    """Return (id, name) of each category by ascending id. Raises ``UserError`` naming the first that is bad."""
    _check_entries(path, "category", categories, _category_problem)
    if not categories:
        raise UserError(f"{path} has no categories; a detector needs at least one.")
    _check_unique(path, "category id", [category["id"] for category in categories])
    _check_unique(path, "category name", [category["name"] for category in categories])
    return tuple(sorted((category["id"], category["name"]) for category in categories))


def _category_problem(category: dict) -> str | None:
    if found := _missing_keys(category, CATEGORY_KEYS):
        return found
    if not _is_id(category["id"]) or not isinstance(category["name"], str):
        return "needs a whole number as id and a text as name"
    return None


def check_annotations(path: Path, annotations: list, sizes: dict[int, tuple[int, int]], known: set[int]) -> None:
    """Raise ``UserError`` naming the first bad annotation; `sizes` are of images by id, `known` ids of categories."""
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
        if not _is_id(identity):
            return NO_ID
        if image_id not in sizes:
            return f"belongs to image {image_id!r:.40}, which is not in 'images'"
        if category_id not in known:
            return f"has category {category_id!r:.40}, which is not in 'categories'"
        if type(image_id) is not int or type(category_id) is not int:
            return WRONG_TYPE
        if annotation.get("ignore"):
            return "is marked 'ignore', which Detectron2 does not know (COCO marks crowds by 'iscrowd')"
        if annotation.get("iscrowd", 0) not in (0, 1):
            return f"has iscrowd {annotation['iscrowd']!r:.40}, which must be the number 0 or 1"
        if not math.isfinite(area):
            return "has an area that is not finite"
        if area < 0:
            return f"has the area {area}, which must be 0 or more"
        limit = FARTHEST * max(sizes[image_id])
        return _box_problem(box, limit) or _mask_problem(segmentation, sizes[image_id], limit)
    except (TypeError, ValueError, OverflowError, KeyError):
        return WRONG_TYPE


def _box_problem(box: list, limit: int) -> str | None:
    if len(box) != 4 or not math.isfinite(sum(box)):
        return f"has the box {box}, which must be four finite numbers (x, y, width, height)"
    if box[2] < 0 or box[3] < 0:
        return f"has the box {box} of negative width or height; boxes are (x, y, width, height)"
    if max(box) > limit or min(box) < -limit:
        return f"has the box {box}, which lies far outside its image"
    return None


def _mask_problem(segmentation: Any, size: tuple[int, int], limit: int) -> str | None:
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
        if max(polygon) > limit or min(polygon) < -limit:
            return "has a bad polygon: a coordinate lies far outside its image"
    return None


def _run_length_problem(mask: dict, size: tuple[int, int]) -> str | None:
    counts = mask["counts"]
    if tuple(mask["size"]) != size:
        return f"has a run-length mask of size {mask['size']} in an image of {list(size)} (height, width)"
    if isinstance(counts, str):
        counts = run_lengths(counts)
        if counts is None:
            return "has a run-length mask that cannot be decoded"
    whole = (
        isinstance(counts, list)
        and all(type(count) is int for count in counts)
        and min(counts, default=0) >= 0
        and sum(counts) == size[0] * size[1]
    )
    return None if whole else "has a run-length mask whose counts do not add up to the image's pixels"


def run_lengths(text: str) -> list[int] | None:
    """Decode COCO's compressed run lengths; None for a text that is not such.

    pycocotools' own decoder believes every text and writes beyond its memory for some. Six bits a character, from "0"
    on: five of the number, least significant first, and one that says whether more follow; from the fourth number on
    what is written is the difference to the number two places before (maskApi.c, ``rleFrString``).
    """
    try:
        codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - ord("0")
    except UnicodeEncodeError:
        return None
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return None
    last = np.flatnonzero(codes & 32 == 0)  # character of each number
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > MAX_CHARACTERS:
        return None
    places = np.arange(len(codes)) - np.repeat(first, lengths)
    numbers = np.add.reduceat((codes & 31) << 5 * places, first)
    numbers -= np.where(codes[last] & 16, 1 << 5 * lengths, 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers.tolist()
