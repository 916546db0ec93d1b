"""Composes data sets from the embedded pack of photographs: seeded, of any size, with exact masks.

Cut-out objects are pasted on photographic backgrounds with random scale, rotation, flip and order. A pixel belongs to
the last object pasted on it, wholly: cut-outs are pasted without blending at their edges, so that a mask is exactly
the set of pixels that show the object, occlusion included. Training and validation share neither a cut-out nor a
background (``index.json`` of the pack says which is which). Image i of a split depends on (seed, split, i) alone, so
a larger set begins with the smaller one.

Detection sets are lossless PNG with run-length masks (``INPUT.MASK_FORMAT: bitmask`` in Detectron2); VOC and
pre-training images are JPEG, as their readers expect.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from benchmark.core.files import write_json
from benchmark.core.folder import RESULTS
from benchmark.core.progress import progress
from benchmark.embedded.cache import ensure

PACK = Path(__file__).resolve().parent / "pack"
COMPOSED = RESULTS / "embedded"
VERSION = 1  # part of every folder's name: raise it whenever the same arguments would give other pixels
SPLITS = ("train", "val")
MIN_VISIBLE = 0.3  # of an object's pasted pixels; a placement that would hide more of an earlier object is not used


@dataclass(frozen=True)
class Cutout:
    """A photographed object: ``rgb`` (h, w, 3) uint8, ``mask`` (h, w) uint8 alpha 0..255, and its category id."""

    rgb: np.ndarray
    mask: np.ndarray
    category_id: int


@dataclass(frozen=True)
class Pack:
    """The cut-outs and backgrounds (RGB uint8) of one split, and the pack's categories ``{id: name}``."""

    cutouts: tuple[Cutout, ...]
    backgrounds: tuple[np.ndarray, ...]
    categories: dict[int, str]


@dataclass(frozen=True)
class Scene:
    """A composed image (h, w, 3) uint8 RGB, its owner map (h, w) (0 background, i + 1 object i), category ids."""

    image: np.ndarray
    owner: np.ndarray
    category_ids: tuple[int, ...]

    def mask(self, i: int) -> np.ndarray:
        """Return the visible pixels of object `i` as a boolean (h, w) array."""
        return self.owner == i + 1


@cache
def load_pack(split: str) -> Pack:
    """Read the cut-outs and backgrounds of ``train`` or ``val`` from the embedded pack."""
    index = json.loads((PACK / "index.json").read_text(encoding="utf-8"))
    cutouts = []
    for entry in index["cutouts"]:
        if entry["split"] == split:
            rgba = np.asarray(Image.open(PACK / entry["file"]).convert("RGBA"))
            rgb, alpha = np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])
            cutouts.append(Cutout(rgb, alpha, entry["category_id"]))
    backgrounds = [
        np.asarray(Image.open(PACK / entry["file"]).convert("RGB"))
        for entry in index["backgrounds"]
        if entry["split"] == split
    ]
    return Pack(tuple(cutouts), tuple(backgrounds), {c["id"]: c["name"] for c in index["categories"]})


def generator(seed: int, split: str, i: int, purpose: int = 0) -> np.random.Generator:
    """Return the random generator of image `i` of a split: a function of its arguments alone."""
    return np.random.default_rng(np.random.SeedSequence([seed, SPLITS.index(split), purpose, i]))


def compose_scene(pack: Pack, rng: np.random.Generator, size: int, objects: tuple[int, int] = (1, 5)) -> Scene:
    """Compose one image of `size` x `size` px from ``objects[0]`` to ``objects[1]`` objects (inclusive).

    A placement that would hide too much of an earlier object, or show too little of its own, is left out, so there
    may be fewer.
    """
    image = _background(pack, rng, size)
    owner = np.zeros((size, size), np.uint8)
    category_ids: list[int] = []
    pasted_pixels: list[int] = []
    for _ in range(int(rng.integers(objects[0], objects[1] + 1))):
        cutout = pack.cutouts[rng.integers(len(pack.cutouts))]
        longest = size * rng.uniform(0.25, 0.65)
        rgb, mask = _transform(cutout, rng, longest)
        centre = rng.uniform(0.1, 0.9, size=2) * size
        window = _window(mask.shape, centre, size)
        if window is None:
            continue
        inside, crop = window
        shape = mask[crop]
        if not keeps_others_visible(owner[inside], owner, shape, pasted_pixels) or shape.sum() < 64:
            continue
        image[inside][shape] = rgb[crop][shape]
        category_ids.append(cutout.category_id)
        pasted_pixels.append(int(shape.sum()))
        owner[inside][shape] = len(category_ids)
    return Scene(image, owner, tuple(category_ids))


def compose_object(pack: Pack, rng: np.random.Generator, size: int, index: int | None = None) -> Scene:
    """Compose one object-centred image: a single cut-out filling 60 to 95 % of the side, near the middle."""
    image = _background(pack, rng, size)
    owner = np.zeros((size, size), np.uint8)
    cutout = pack.cutouts[rng.integers(len(pack.cutouts)) if index is None else index]
    rgb, mask = _transform(cutout, rng, size * rng.uniform(0.6, 0.95))
    window = _window(mask.shape, size * rng.uniform(0.42, 0.58, size=2), size)
    assert window is not None  # the centre lies inside the image
    inside, crop = window
    image[inside][mask[crop]] = rgb[crop][mask[crop]]
    owner[inside][mask[crop]] = 1
    return Scene(image, owner, (cutout.category_id,))


def _background(pack: Pack, rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a random square piece of a random background, at `size` px, perhaps mirrored."""
    photo = pack.backgrounds[rng.integers(len(pack.backgrounds))]
    height, width = photo.shape[:2]
    side = int(min(height, width) * rng.uniform(0.5, 1.0))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    piece = photo[top : top + side, left : left + side]
    piece = cv2.resize(piece, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
    return np.ascontiguousarray(piece[:, ::-1] if rng.random() < 0.5 else piece)


def _transform(cutout: Cutout, rng: np.random.Generator, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Scale a cut-out to `longest` px, rotate it by up to 30 degrees, perhaps mirror it; mask becomes boolean."""
    angle = rng.uniform(-30.0, 30.0)
    mirror = rng.random() < 0.5
    height, width = cutout.mask.shape
    scale = longest / max(height, width)
    rotation = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale)
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    out_width = max(1, math.ceil(scale * (width * cos + height * sin)))
    out_height = max(1, math.ceil(scale * (width * sin + height * cos)))
    rotation[:, 2] += ((out_width - width) / 2, (out_height - height) / 2)
    arguments = {"dsize": (out_width, out_height), "flags": cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR}
    # The colour next to the cut-out's edge is repeated outwards, so that interpolation does not mix in black.
    rgb = cv2.warpAffine(cutout.rgb, rotation, borderMode=cv2.BORDER_REPLICATE, **arguments)
    mask = cv2.warpAffine(cutout.mask, rotation, borderMode=cv2.BORDER_CONSTANT, **arguments) >= 128
    return (rgb[:, ::-1], mask[:, ::-1]) if mirror else (rgb, mask)


def _window(shape: tuple[int, ...], centre: np.ndarray, size: int) -> tuple[tuple, tuple] | None:
    """Return the slices of the image and of the object that meet when it is centred there, or None."""
    inside, crop = [], []
    for length, middle in zip(shape, centre, strict=True):
        start = round(middle - length / 2)
        first, last = max(start, 0), min(start + length, size)
        if first >= last:
            return None
        inside.append(slice(first, last))
        crop.append(slice(first - start, last - start))
    return tuple(inside), tuple(crop)


def keeps_others_visible(covered: np.ndarray, owner: np.ndarray, shape: np.ndarray, pasted: list[int]) -> bool:
    """Say whether every earlier object would still show `MIN_VISIBLE` of its pixels under a new one."""
    for i, pixels in enumerate(pasted):
        visible = np.count_nonzero(owner == i + 1) - np.count_nonzero((covered == i + 1) & shape)
        if visible < MIN_VISIBLE * pixels:
            return False
    return True


def ensure_pretraining_images(count: int = 6000, size: int = 96, seed: int = 0) -> Path:
    """Return a folder with `count` object-centred JPEG photographs of `size` px, composing it on first use.

    Training cut-outs and backgrounds only; one sub-folder a category, which pre-training does not look at.
    """
    folder = _folder("objects", count=count, size=size, seed=seed)
    return ensure(folder, lambda target: _write_objects(target, "train", count, size, seed))


def ensure_classification(train_images: int = 2000, val_images: int = 500, size: int = 96, seed: int = 0) -> Path:
    """Return an image folder ``train/<category>/``, ``validation/<category>/`` of object-centred photographs."""
    folder = _folder("classes", train=train_images, val=val_images, size=size, seed=seed)

    def write(target: Path) -> None:
        _write_objects(target / "train", "train", train_images, size, seed)
        _write_objects(target / "validation", "val", val_images, size, seed)

    return ensure(folder, write)


def ensure_coco(train_images: int = 300, val_images: int = 80, size: int = 160, seed: int = 0) -> Path:
    """Return the root of a COCO data set in COCO's own layout, composing it on first use.

    ``train2017/``, ``val2017/`` and ``annotations/instances_{train,val}2017.json``; images of `size` px with one to
    five objects of the pack's 14 categories.
    """
    folder = _folder("coco", train=train_images, val=val_images, size=size, seed=seed)

    def write(target: Path) -> None:
        for split, count in (("train", train_images), ("val", val_images)):
            write_coco_split(target, f"{split}2017", split, count, size, seed)

    return ensure(folder, write)


def ensure_voc(train_images: int = 300, val_images: int = 80, size: int = 160, seed: int = 0) -> Path:
    """Return the root of a data set in Pascal VOC's layout: VOC2007 (trainval, test) and VOC2012 (trainval).

    Half of `train_images` go to each trainval; the `val_images` test images use validation cut-outs only.
    """
    folder = _folder("voc", train=train_images, val=val_images, size=size, seed=seed)

    def write(target: Path) -> None:
        half = train_images // 2
        write_voc_split(target / "VOC2007", "trainval", "train", range(half), size, seed)
        write_voc_split(target / "VOC2012", "trainval", "train", range(half, train_images), size, seed)
        write_voc_split(target / "VOC2007", "test", "val", range(val_images), size, seed)

    return ensure(folder, write)


def _folder(kind: str, **arguments: int) -> Path:
    words = [f"{name}{value}" for name, value in arguments.items()]
    return COMPOSED / "-".join([kind, *words, f"v{VERSION}"])


def _write_image(path: Path, rgb: np.ndarray) -> None:
    """Write RGB uint8 as PNG (fast compression) or JPEG (quality 95), by the name's ending."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    done, encoded = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    assert done
    path.write_bytes(encoded.tobytes())


def _write_objects(folder: Path, split: str, count: int, size: int, seed: int) -> None:
    pack = load_pack(split)
    for name in pack.categories.values():
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i in progress(range(count), f"composing {count} {split} photographs", "image"):
        scene = compose_object(pack, generator(seed, split, i, purpose=1), size)
        _write_image(folder / pack.categories[scene.category_ids[0]] / f"{i:06d}.jpg", scene.image)


def write_coco_split(root: Path, name: str, split: str, count: int, size: int, seed: int) -> None:
    """Write `count` scenes of a split as ``<root>/<name>/`` and ``<root>/annotations/instances_<name>.json``."""
    pack = load_pack(split)
    (root / name).mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for i in progress(range(count), f"composing {count} {split} scenes", "image"):
        scene = compose_scene(pack, generator(seed, split, i), size)
        file_name = f"{i:012d}.png"
        _write_image(root / name / file_name, scene.image)
        images.append({"id": i + 1, "file_name": file_name, "height": size, "width": size})
        for annotation in coco_annotations(scene):
            annotations.append({"id": len(annotations) + 1, "image_id": i + 1, **annotation})
    categories = [{"id": i, "name": n, "supercategory": "object"} for i, n in pack.categories.items()]
    content = {
        "info": {"description": "Composed from the embedded photographs", "seed": seed, "composer_version": VERSION},
        "licenses": [{"id": 1, "name": "GPL-2.0-or-later"}],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    write_json(root / "annotations" / f"instances_{name}.json", content)


def coco_annotations(scene: Scene) -> list[dict]:
    """Return COCO annotations of a scene without ids: category, run-length mask, box (x, y, w, h) and area in px."""
    found = []
    for i, category_id in enumerate(scene.category_ids):
        code = coco_mask.encode(np.asfortranarray(scene.mask(i), dtype=np.uint8))
        segmentation = {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}
        box = [float(value) for value in coco_mask.toBbox(code)]
        area = int(coco_mask.area(code))
        entry = {"category_id": category_id, "segmentation": segmentation, "bbox": box, "area": area, "iscrowd": 0}
        found.append(entry)
    return found


def write_voc_split(year: Path, image_set: str, split: str, numbers: range, size: int, seed: int) -> None:
    """Write scenes of a split in VOC's layout under `year` (a ``VOC2007`` folder), listed in `image_set`."""
    pack = load_pack(split)
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (year / part).mkdir(parents=True, exist_ok=True)
    names = []
    for i in progress(numbers, f"composing {len(numbers)} {split} scenes", "image"):
        scene = compose_scene(pack, generator(seed, split, i), size)
        name = f"{SPLITS.index(split)}{i:05d}"
        _write_image(year / "JPEGImages" / f"{name}.jpg", scene.image)
        (year / "Annotations" / f"{name}.xml").write_text(_voc_xml(scene, pack, name), encoding="utf-8")
        names.append(name)
    (year / "ImageSets" / "Main" / f"{image_set}.txt").write_text("".join(f"{name}\n" for name in names))


def _voc_xml(scene: Scene, pack: Pack, name: str) -> str:
    """Return VOC's XML: boxes are 1-based and hold their last pixel."""
    height, width = scene.owner.shape
    fixed = "<pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
    lines = ["<annotation>", f"<filename>{name}.jpg</filename>"]
    lines.append(f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>")
    for annotation in coco_annotations(scene):
        x, y, w, h = (int(value) for value in annotation["bbox"])
        category = escape(pack.categories[annotation["category_id"]])
        lines.append(
            f"<object><name>{category}</name>{fixed}<bndbox>"
            f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        )
    return "\n".join([*lines, "</annotation>", ""])
