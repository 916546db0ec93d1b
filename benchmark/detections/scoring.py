"""COCO's average precision of saved detections, by hotcoco. Imports no torch, so that anyone can score again.

All figures are percent. What cannot be computed (no object of that size or class) is None, never 0 or -1.
"""

import contextlib
import io
import math
from itertools import chain
from operator import itemgetter
from typing import Any

import hotcoco
import numpy as np

# COCO's twelve numbers in the order of the evaluator's ``stats``; the digits after AR are detections an image.
COCO_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
SHAPES = {"bbox": "bbox", "segm": "segmentation"}  # kind of AP -> the part of a result that it compares


def score(ground_truth: dict[str, Any], predictions: list[dict[str, Any]], task: str) -> dict[str, float | None]:
    """Return COCO's twelve numbers in percent, None where there is no object to find.

    Args:
        ground_truth: COCO dictionary with ``images``, ``annotations``, ``categories``; not modified.
        predictions: COCO results with the shape that `task` compares; not modified.
        task: ``bbox`` or ``segm``.
    """
    evaluation = evaluated(ground_truth, predictions, task)
    return {name: percent(value) for name, value in zip(COCO_METRICS, evaluation.stats, strict=True)}


def evaluated(ground_truth: dict[str, Any], predictions: list[dict[str, Any]], task: str) -> hotcoco.COCOeval:
    """Return hotcoco's evaluator after evaluate, accumulate and summarize, with its printing kept away."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = loaded(ground_truth, predictions, task)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def loaded(ground_truth: dict[str, Any], predictions: list[dict[str, Any]], task: str) -> hotcoco.COCOeval:
    """Return hotcoco's evaluator with the data loaded; it sees only the shape that the task compares.

    With boxes beside masks it would take the sizes of predictions from the boxes.
    """
    truth = hotcoco.COCO(ground_truth)
    if not predictions:  # load_res cannot know what an empty list holds
        found = hotcoco.COCO({**ground_truth, "annotations": []})
    else:
        found = truth.load_res(_table(predictions) if task == "bbox" else only(predictions, SHAPES[task]))
    return hotcoco.COCOeval(truth, found, task)


def only(predictions: list[dict[str, Any]], shape: str) -> list[dict[str, Any]]:
    """Return the predictions with one shape and nothing else but ids and score."""
    kept = ("image_id", "category_id", "score", shape)
    return [{key: prediction[key] for key in kept} for prediction in predictions]


def percent(value: float) -> float | None:
    """Return a share as percent; the evaluators' -1 and what is not finite are None."""
    return 100.0 * float(value) if math.isfinite(value) and value >= 0 else None


def _table(predictions: list[dict[str, Any]]) -> np.ndarray:
    """Return rows of image id, x, y, w, h, score, category id, exact as float64: read faster than dictionaries."""
    count = len(predictions)
    rows = np.empty((count, 7))
    for column, key in ((0, "image_id"), (5, "score"), (6, "category_id")):
        rows[:, column] = np.fromiter(map(itemgetter(key), predictions), np.float64, count)
    numbers = chain.from_iterable(map(itemgetter("bbox"), predictions))
    rows[:, 1:5] = np.fromiter(numbers, np.float64, 4 * count).reshape(count, 4)
    return rows
