"""The run folders behind the records: curves of training, pictures of predictions, saved detections."""

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from benchmark.core.folder import METRICS_FILE
from benchmark.records import RunRecord
from benchmark.records.folders import record_id_of

PICTURE, PREDICTIONS = "predictions.png", "predictions.json"
MAX_BYTES = 64 << 20  # of one metrics.json
MAX_POINTS = 300  # of one curve on the page
PICTURE_WIDTH, PICTURE_HEIGHT = 1000, 1400  # px of a picture on the page


@dataclass(frozen=True)
class RunFolder:
    """One run's folder and the record that it belongs to."""

    record: RunRecord
    path: Path


def find_runs(records: Sequence[RunRecord], folder: Path) -> list[RunFolder]:
    """Return the folders of the records' runs; a folder keeps a copy of its record."""
    if not folder.is_dir():
        return []
    by_id = {record.id: record for record in records}
    found = []
    for path in sorted(folder.iterdir()):
        name = record_id_of(path, by_id) if path.is_dir() else None
        if name is not None:
            found.append(RunFolder(by_id[name], path))
    return found


def curve(run: RunFolder, key: str) -> tuple[list[float], list[float]]:
    """Return iterations and values of one quantity in a run's metrics.json, thinned to `MAX_POINTS`."""
    path = run.path / METRICS_FILE
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        return [], []
    points = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            values = _object(line)
            x, y = values.get("epoch", values.get("iteration")), values.get(key)
            if _finite(x) and _finite(y):
                points.append((float(x), float(y)))
    step = max(1, len(points) // MAX_POINTS)
    thin = points[::step]
    return [x for x, _ in thin], [y for _, y in thin]


def _object(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def picture(run: RunFolder) -> str | None:
    """Return a run's picture of predictions as a data address, made small enough for the page; None without one."""
    path = run.path / PICTURE
    if not path.is_file():
        return None
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
            small.thumbnail((PICTURE_WIDTH, PICTURE_WIDTH * 4))
            small = small.crop((0, 0, small.width, min(small.height, PICTURE_HEIGHT)))
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=78, optimize=True)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
