"""Pascal VOC's layout: image lists and XML files, read and checked as Detectron2's loader and evaluator need them.

Objects marked difficult are trained on, as in Detectron2's ``load_voc_instances``.
"""

import contextlib
import hashlib
import math
import os
import shutil
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmark.core.errors import UserError
from benchmark.core.files import write_text
from transfer.datasets.coco_checks import FARTHEST
from transfer.datasets.coco_format import check_on_disk

CORNERS = ("xmin", "ymin", "xmax", "ymax")
EVALUATED = ("truncated", "difficult")  # whole numbers that the evaluator reads beside the box


@dataclass(frozen=True)
class VocSplit:
    """What one image list of one year holds, checked.

    ``image_ids`` in the list's order; ``with_objects`` those with at least one object; ``evaluable`` those whose
    objects Detectron2's evaluator can read (boxes of whole pixels; pose, truncated and difficult given).
    """

    year: Path
    image_set: str
    sha256: str
    image_ids: tuple[str, ...]
    with_objects: frozenset[str]
    evaluable: frozenset[str]
    class_names: frozenset[str]


def read_split(year: Path, image_set: str) -> VocSplit:
    """Read and check the images that ``ImageSets/Main/<image_set>.txt`` under `year` (a ``VOC2007`` folder) lists.

    Raises:
        UserError: the list, an image or an XML file is missing, malformed or incomplete.
    """
    listing = year / "ImageSets" / "Main" / f"{image_set}.txt"
    digest = hashlib.sha256()
    image_ids = _read_list(listing, digest)
    check_on_disk(year / "JPEGImages", (f"{image_id}.jpg" for image_id in image_ids), listing)
    check_on_disk(year / "Annotations", (f"{image_id}.xml" for image_id in image_ids), listing, "annotation files")
    with_objects, evaluable, class_names = set(), set(), set()
    for image_id in image_ids:
        path = year / "Annotations" / f"{image_id}.xml"
        content = path.read_bytes()
        digest.update(content)
        objects = _objects(path, content)
        class_names.update(entry.findtext("name") for entry in objects)
        if objects:
            with_objects.add(image_id)
        if all(_is_evaluable(entry) for entry in objects):
            evaluable.add(image_id)
    return VocSplit(
        year=year,
        image_set=image_set,
        sha256=digest.hexdigest(),
        image_ids=image_ids,
        with_objects=frozenset(with_objects),
        evaluable=frozenset(evaluable),
        class_names=frozenset(class_names),
    )


def check_evaluable(split: VocSplit) -> None:
    """Raise ``UserError`` when Detectron2's VOC evaluator could not read an annotation of the split."""
    bad = [image_id for image_id in split.image_ids if image_id not in split.evaluable]
    if bad:
        raise UserError(
            f"{split.year / 'Annotations' / bad[0]}.xml ({len(bad)} such files in {split.image_set}) lacks what VOC's "
            "evaluation reads: pose, truncated, difficult and a box of whole numbers; complete it."
        )


def write_year(folder: Path, image_set: str, images: Iterable[tuple[Path, str]]) -> None:
    """Make `folder` a year in VOC's layout whose one list names `images`, (year, id) pairs, by links to them.

    Detectron2's evaluator reads one list in one year's folder; a hold-out spans two years. An existing `folder` is
    kept: its name says what it holds.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    image_ids = []
    for kind in ("JPEGImages", "Annotations"):
        (part / kind).mkdir()
    for year, image_id in images:
        image_ids.append(image_id)
        for kind, ending in (("JPEGImages", "jpg"), ("Annotations", "xml")):
            (part / kind / f"{image_id}.{ending}").symlink_to(year / kind / f"{image_id}.{ending}")
    write_text(part / "ImageSets" / "Main" / f"{image_set}.txt", "".join(f"{image_id}\n" for image_id in image_ids))
    with contextlib.suppress(OSError):  # another process of this run was first
        os.rename(part, folder)
    shutil.rmtree(part, ignore_errors=True)


def _read_list(listing: Path, digest: "hashlib._Hash") -> tuple[str, ...]:
    try:
        raw = listing.read_bytes()
        lines = raw.decode("utf-8").splitlines()
    except OSError as error:
        raise UserError(f"the image list {listing} cannot be read ({error.strerror}); check --data.") from None
    except UnicodeDecodeError:
        raise UserError(f"the image list {listing} is no text; get the file again.") from None
    digest.update(raw)
    image_ids = tuple(line.strip() for line in lines if line.strip())
    if len(image_ids) < 2 or any(len(image_id.split()) > 1 for image_id in image_ids):
        raise UserError(
            f"the image list {listing} must name at least two images, one a line and nothing else; it names "
            f"{len(image_ids)}; check --data."
        )
    if len(set(image_ids)) < len(image_ids):
        twice = next(image_id for image_id in image_ids if image_ids.count(image_id) > 1)
        raise UserError(f"the image list {listing} names the image {twice} more than once; make each unique.")
    return image_ids


def _objects(path: Path, content: bytes) -> list[ET.Element]:
    """Return the checked ``object`` elements of an annotation file."""
    try:
        tree = ET.fromstring(content)
    except (ET.ParseError, LookupError, ValueError) as error:  # the last two for encodings that Python does not take
        raise UserError(f"{path} is not readable XML ({error}); get the file again.") from None
    objects = tree.findall("object")
    sides = [_number(tree.findtext(f"size/{side}"), int) for side in ("width", "height")]
    if not all(side is not None and side > 0 for side in sides):
        raise UserError(f"{path} gives no size of the image (size/width and size/height); complete or remove it.")
    for number, entry in enumerate(objects, start=1):
        if found := _object_problem(entry, FARTHEST * max(sides)):
            raise UserError(f"object {number} in {path} {found}; correct or remove it.")
    return objects


def _object_problem(entry: ET.Element, limit: float) -> str | None:
    if not entry.findtext("name"):
        return "has no name"
    box = [_number(entry.findtext(f"bndbox/{corner}"), float) for corner in CORNERS]
    if None in box:
        return f"has a box without the finite numbers {', '.join(CORNERS)}"
    if box[2] < box[0] or box[3] < box[1]:
        return f"has the box {box} of negative width or height; boxes are {', '.join(CORNERS)}"
    if max(map(abs, box)) > limit:
        return f"has the box {box}, which lies far outside its image"
    return None


def _is_evaluable(entry: ET.Element) -> bool:
    texts = [entry.findtext(key) for key in EVALUATED] + [entry.findtext(f"bndbox/{corner}") for corner in CORNERS]
    return entry.find("pose") is not None and all(_number(text, int) is not None for text in texts)


def _number(text: str | None, kind: type) -> float | None:
    """Return the finite number that `text` holds, read as Detectron2 reads it (``int`` or ``float``), or None."""
    try:
        value = kind(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
