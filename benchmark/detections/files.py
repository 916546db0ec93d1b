"""Reading saved detections and ground truth: COCO's results format and COCO's annotation format."""

import json
import math
import stat
from pathlib import Path
from typing import Any

from benchmark.core.errors import UserError

MAX_BYTES = 2 << 30  # 5,000 images with 100 masks each take about 200 MB


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """Return COCO results: ``image_id``, ``category_id``, ``score``, ``bbox`` (x, y, w, h in px), perhaps masks.

    Raises:
        UserError: the file cannot be read, or a prediction lacks a part or holds something that is not a number.
    """
    content = _json(path)
    if not isinstance(content, list):
        raise UserError(f"{path} holds no list of detections; give COCO's results format.")
    for number, item in enumerate(content):
        if problem := _problem(item):
            raise UserError(f"{path}: detection {number} {problem}; it cannot be scored.")
    return content


def read_ground_truth(path: Path) -> dict[str, Any]:
    """Return a COCO annotation file. Raises ``UserError`` when it is not one."""
    content = _json(path)
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in parts):
        raise UserError(f"{path} is not a COCO annotation file: it needs the lists {', '.join(parts)}.")
    return content


def _json(path: Path) -> Any:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise UserError(f"{path} is not a regular file of less than {MAX_BYTES >> 30} GiB; give another.")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UserError(f"{path} cannot be read as JSON ({reason}).") from None


def _problem(item: Any) -> str | None:
    """Return what is wrong with one detection, None where it can be scored."""
    if not isinstance(item, dict):
        return "is not an object"
    for key in ("image_id", "category_id"):
        if type(item.get(key)) is not int or abs(item[key]) >= 1 << 53:
            return f"has no whole number {key}"
    if not _is_number(item.get("score")):
        return "has no number as its score"
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return "has no bbox of four numbers"
    return None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e9
