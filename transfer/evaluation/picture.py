"""``predictions.png``: validation images with true and predicted objects side by side, best and worst by AP.

For people to look at; nothing here enters a result.
"""

import colorsys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.data.detection_utils import read_image
from detectron2.structures import BoxMode
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco_mask

from benchmark.core.files import write_with
from transfer.datasets.data import DetectionData
from transfer.evaluation.coco_ap import coco_metrics
from transfer.evaluation.run import shapes_of

MAX_RANKED = 200  # images whose AP is computed
CONFIDENT = 0.5  # a prediction of this score is drawn whatever its class
MAX_DRAWN = 25  # predictions an image
PANEL = 400  # px: longer side of an image in the picture
MARGIN, TEXT = 14, 15  # px
INK, QUIET, PAPER = (25, 25, 25), (105, 105, 105), (255, 255, 255)
CROWD = (128, 128, 128)


@dataclass(frozen=True)
class _Object:
    """Something to draw: corners of its box in px, label, RGB colour, mask (h, w) bool or None."""

    box: tuple[float, float, float, float]
    label: str
    colour: tuple[int, int, int]
    mask: np.ndarray | None


def draw_predictions(
    path: str | Path, cfg: CfgNode, data: DetectionData, predictions: list[dict], *, images: int = 8, seed: int = 0
) -> list[Any]:
    """Draw the best and the worst validation images by their AP, best first; write a PNG atomically.

    The AP of an image is ``coco_metrics`` on it alone (masks if the detector has them), over at most ``MAX_RANKED``
    seeded images that hold an object. ``predictions_to_draw`` says which of its predictions are shown.

    Args:
        path: the PNG file.
        cfg: the detector's effective config.
        data: the data set that was evaluated on.
        predictions: COCO results, as from ``run_evaluation``.
        images: rows of the picture, half of them best, half worst.
        seed: chooses the images that are ranked.

    Returns:
        Ids of the images drawn, from top to bottom.
    """
    task = shapes_of(cfg)[-1]
    truth = _ground_truth(data)
    found = _by_image(predictions)
    objects = _by_image(truth["annotations"])
    ranking = _ranked(truth, objects, found, task, seed)
    best = ranking[: (min(images, len(ranking)) + 1) // 2]
    worst = ranking[len(best) :][-(images // 2) :] if images > 1 else []
    legend = {category["id"]: (category["name"], _colour(k)) for k, category in enumerate(truth["categories"])}
    files = {record["image_id"]: record["file_name"] for name in data.test for record in DatasetCatalog.get(name)}
    blocks = [_heading(task, len(ranking), len(truth["images"]))]
    for title, chosen in (("Best", best), ("Worst", worst)):
        if chosen:
            blocks.append(_line(f"{title} by AP of the image", 1.25 * TEXT))
        for i, precision in chosen:
            blocks += _row(files[i], precision, objects[i], found[i], legend, task == "segm")
    picture = _stacked(blocks)
    write_with(path, lambda file: picture.save(file, format="PNG"))
    return [image_id for image_id, _ in best + worst]


def _ground_truth(data: DetectionData) -> dict:
    """Return the COCO dictionary of the validation images; for VOC made from what Detectron2 registered."""
    if data.task == "coco":
        return data.ground_truth()
    images, annotations = [], []
    for name in data.test:
        for record in DatasetCatalog.get(name):
            images.append({"id": record["image_id"], "height": record["height"], "width": record["width"]})
            for entry in record["annotations"]:
                x, y, w, h = BoxMode.convert(entry["bbox"], entry["bbox_mode"], BoxMode.XYWH_ABS)
                annotation = {"image_id": record["image_id"], "category_id": data.category_ids[entry["category_id"]]}
                annotation |= {"id": len(annotations) + 1, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
                annotations.append(annotation)
    categories = [{"id": i, "name": n} for i, n in zip(data.category_ids, data.class_names, strict=True)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _by_image(entries: Iterable[dict]) -> dict[Any, list[dict]]:
    groups: dict[Any, list[dict]] = defaultdict(list)
    for entry in entries:
        groups[entry["image_id"]].append(entry)
    return groups


def _ranked(truth: dict, objects: dict, found: dict, task: str, seed: int) -> list[tuple[Any, float]]:
    """Return (image id, AP in percent) of at most ``MAX_RANKED`` seeded images with objects, best first."""
    wanted = [image for image in truth["images"] if any(not a.get("iscrowd") for a in objects[image["id"]])]
    order = np.random.default_rng(seed).permutation(len(wanted))[:MAX_RANKED]
    ranking = []
    for k in sorted(order):
        image = wanted[k]
        # VOC's ids are names, which COCO's evaluators do not take: alone, every image may be number 1. Classes without
        # an object here have no AP, so that leaving them out changes nothing but the time.
        present = {entry["category_id"] for entry in objects[image["id"]]}
        alone = {"images": [{**image, "id": 1}], "annotations": _renumbered(objects[image["id"]])}
        alone["categories"] = [category for category in truth["categories"] if category["id"] in present]
        results = [result for result in found[image["id"]] if result["category_id"] in present]
        ranking.append((image["id"], coco_metrics(alone, _renumbered(results), task)["AP"]))
    return sorted(ranking, key=lambda entry: -entry[1])


def _renumbered(entries: list[dict]) -> list[dict]:
    return [{**entry, "image_id": 1} for entry in entries]


def _row(
    file: str, precision: float, objects: list[dict], found: list[dict], legend: dict, masks: bool
) -> list[Image.Image]:
    """Return the caption of an image and the image twice: objects left, predictions right."""
    pixels = read_image(file, "RGB")
    drawn = predictions_to_draw(found, objects)
    caption = f"AP {precision:.1f}   {Path(file).name}   {len(drawn)} of {len(found)} predictions drawn"
    sides = [[_object(entry, legend, pixels, masks) for entry in entries] for entries in (objects, drawn)]
    return [_line(caption, TEXT), _side_by_side([_panel(pixels, side) for side in sides])]


def predictions_to_draw(found: list[dict], objects: list[dict]) -> list[dict]:
    """Return which predictions of an image to draw, highest score first, at most ``MAX_DRAWN``.

    Those with a score of ``CONFIDENT`` or more, and the highest scores as many as there are objects (crowd regions
    aside), overall and of each class: a detector of low scores shows what it takes things for, and what gave the AP.
    """
    left = Counter(entry["category_id"] for entry in objects if not entry.get("iscrowd"))
    top = left.total()
    chosen = []
    for place, result in enumerate(sorted(found, key=lambda result: -result["score"])):
        if result["score"] >= CONFIDENT or place < top or left[result["category_id"]] > 0:
            chosen.append(result)
        left[result["category_id"]] -= 1
    return chosen[:MAX_DRAWN]


def _object(entry: dict, legend: dict, pixels: np.ndarray, masks: bool) -> _Object:
    """Return how to draw an annotation or a result."""
    x, y, w, h = entry["bbox"]
    label, colour = legend[entry["category_id"]]
    if "score" in entry:
        label = f"{label} {100 * entry['score']:.0f}%"
    if entry.get("iscrowd"):
        label, colour = f"crowd: {label}", CROWD
    mask = _mask(entry["segmentation"], *pixels.shape[:2]) if masks else None
    return _Object((x, y, x + w, y + h), label, colour, mask)


def _mask(shape: Any, height: int, width: int) -> np.ndarray:
    """Decode polygons or run lengths, as lists or compressed, into a boolean (h, w) array."""
    if isinstance(shape, list):
        shape = coco_mask.merge(coco_mask.frPyObjects(shape, height, width))
    elif isinstance(shape["counts"], list):
        shape = coco_mask.frPyObjects(shape, height, width)
    return coco_mask.decode(shape).astype(bool)


def _colour(k: int) -> tuple[int, int, int]:
    """Return the RGB colour of class k: hues by the golden ratio, so that neighbours differ, in three brightnesses."""
    red, green, blue = colorsys.hsv_to_rgb((k * 0.618034) % 1.0, 0.85, (0.95, 0.75, 0.6)[k % 3])
    return round(255 * red), round(255 * green), round(255 * blue)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _panel(pixels: np.ndarray, objects: Sequence[_Object]) -> Image.Image:
    """Draw objects on an enlarged or reduced image, large ones first so that small ones stay visible."""
    height, width = pixels.shape[:2]
    scale = PANEL / max(height, width)
    size = (round(width * scale), round(height * scale))
    canvas = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    ordered = sorted(objects, key=lambda shown: -(shown.box[2] - shown.box[0]) * (shown.box[3] - shown.box[1]))
    for shown in ordered:
        if shown.mask is not None:
            _paint(canvas, shown)
    panel = Image.fromarray(canvas)
    draw = ImageDraw.Draw(panel)
    boxes = [tuple(side * scale for side in shown.box) for shown in ordered]
    for shown, box in zip(ordered, boxes, strict=True):
        draw.rectangle(box, outline=shown.colour, width=2)
    taken: list[tuple] = []
    font = _font(12 if len(ordered) <= 10 else 9)
    for shown, box in reversed(list(zip(ordered, boxes, strict=True))):
        _label(draw, shown, box, panel.size, font, taken)
    return panel


def _paint(canvas: np.ndarray, shown: _Object) -> None:
    """Tint the object's pixels and trace its outline, in place."""
    mask = cv2.resize(shown.mask.astype(np.uint8), canvas.shape[1::-1], interpolation=cv2.INTER_LINEAR_EXACT)
    inside = mask.astype(bool)
    canvas[inside] = (0.55 * canvas[inside] + 0.45 * np.array(shown.colour)).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, shown.colour, 1, cv2.LINE_AA)


def _label(
    draw: ImageDraw.ImageDraw,
    shown: _Object,
    box: tuple,
    size: tuple[int, int],
    font: ImageFont.FreeTypeFont,
    taken: list[tuple],
) -> None:
    """Write the label on its colour at a corner of the box, inside the image, where no other label is if possible."""
    left, top, right, bottom = draw.textbbox((0, 0), shown.label, font=font)
    width, height = right - left + 6, bottom - top + 5
    places = [(box[0], box[1] - height), (box[0], box[1]), (box[0], box[3] - height), (box[2] - width, box[1])]
    places += [(box[0], box[1] + k * height) for k in range(1, 8)]
    inside = [(_within(x, size[0] - width), _within(y, size[1] - height)) for x, y in places]
    areas = [(x, y, x + width, y + height) for x, y in inside]
    area = next((a for a in areas if not any(_overlap(a, b) for b in taken)), areas[0])
    taken.append(area)
    draw.rectangle(area, fill=shown.colour)
    bright = np.dot(shown.colour, (0.299, 0.587, 0.114)) > 140
    draw.text((area[0] + 3 - left, area[1] + 2 - top), shown.label, fill=INK if bright else PAPER, font=font)


def _within(value: float, last: float) -> float:
    return min(max(value, 0), max(last, 0))


def _overlap(a: tuple, b: tuple) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _heading(task: str, ranked: int, images: int) -> Image.Image:
    what = "mask" if task == "segm" else "box"
    title = _line("Validation images: ground truth (left), predictions (right)", 1.4 * TEXT)
    lines = (
        f"AP: {what} AP of the image alone, percent; best and worst of {ranked} images with objects, {images} in all.",
        f"Drawn: predictions with a score of {CONFIDENT:.0%} or more, and the highest scores, overall and of each",
        f"class, as many as the image has objects; at most {MAX_DRAWN}.",
    )
    return _stacked([title, *(_line(line, 0.85 * TEXT, QUIET) for line in lines)], margin=0, gap=2)


def _line(text: str, size: float, colour: tuple[int, int, int] = INK) -> Image.Image:
    """Return a line of text on white, as wide as the text."""
    font = _font(round(size))
    left, _, right, _ = font.getbbox(text)
    line = Image.new("RGB", (int(right - left) + 2, round(size * 1.35)), PAPER)
    ImageDraw.Draw(line).text((-left, 0), text, fill=colour, font=font)
    return line


def _side_by_side(panels: Sequence[Image.Image]) -> Image.Image:
    canvas = Image.new("RGB", (2 * PANEL + MARGIN, max(panel.height for panel in panels)), PAPER)
    for k, panel in enumerate(panels):
        canvas.paste(panel, (k * (PANEL + MARGIN), 0))
    return canvas


def _stacked(blocks: Sequence[Image.Image], margin: int = MARGIN, gap: int = MARGIN // 2) -> Image.Image:
    width = max(block.width for block in blocks) + 2 * margin
    height = sum(block.height + gap for block in blocks) + 2 * margin
    canvas = Image.new("RGB", (width, height), PAPER)
    top = margin
    for block in blocks:
        canvas.paste(block, (margin, top))
        top += block.height + gap
    return canvas
