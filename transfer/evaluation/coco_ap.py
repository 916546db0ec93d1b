"""COCO's average precision, by hotcoco or pycocotools.

All figures are percent. What cannot be computed (no object of that size or class) is None, never 0 or -1: a report must
not average it. A detector without any prediction has an AP of 0.0, which is a result.
"""

import contextlib
import io
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmark.core.errors import check_choice
from benchmark.detections.scoring import COCO_METRICS, SHAPES, loaded, only
from transfer.evaluation.by_image import ByImage, Metrics, percent
from transfer.evaluation.evaluators import EVALUATORS


def coco_metrics(ground_truth: dict, predictions: list[dict], task: str, evaluator: str = "hotcoco") -> Metrics:
    """Return COCO's twelve numbers and the AP of each category.

    At most 100 predictions of a category in an image count, the highest scores: COCO's own rule. The evaluator sees
    only the shape that the task compares; with boxes beside masks it would take sizes of predictions from the boxes.

    Args:
        ground_truth: COCO dictionary with ``images``, ``annotations``, ``categories`` (names unique); not modified.
        predictions: COCO results: ``image_id``, ``category_id``, ``score``, ``bbox`` (x, y, w, h in px) and, for masks,
            ``segmentation`` (compressed run lengths); not modified.
        task: ``bbox`` or ``segm``.
        evaluator: ``hotcoco`` or ``pycocotools``; a test holds their numbers equal to 1e-9.

    Returns:
        Percent by ``COCO_METRICS`` and ``AP-<category>``; None where there is no object to find.

    Raises:
        UserError: no such evaluator.
        KeyError: no such task, or a prediction lacks its shape.
    """
    check_choice("--evaluator", evaluator, EVALUATORS)
    with contextlib.redirect_stdout(io.StringIO()):  # both evaluators print tables
        evaluation = loaded_evaluation(ground_truth, predictions, task, evaluator)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = {name: percent(value) for name, value in zip(COCO_METRICS, evaluation.stats, strict=True)}
    # (IoU, recall, category by ascending id, area range, detections an image); 0: all areas, -1: 100 an image
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    for k, category in enumerate(sorted(ground_truth["categories"], key=itemgetter("id"))):
        present = precision[:, :, k][precision[:, :, k] > -1]
        metrics[f"AP-{category['name']}"] = percent(present.mean()) if present.size else None
    return metrics


def loaded_evaluation(ground_truth: dict, predictions: list[dict], task: str, evaluator: str) -> Any:
    """Return the evaluator's ``COCOeval`` with the data loaded, as ``coco_metrics`` uses it; same arguments."""
    return {"hotcoco": loaded, "pycocotools": _pycocotools}[evaluator](ground_truth, predictions, task)


def _pycocotools(ground_truth: dict, predictions: list[dict], task: str) -> COCOeval:
    # pycocotools writes into the dictionaries it is given, hence the copies.
    truth = _coco({**ground_truth, "annotations": [dict(a) for a in ground_truth["annotations"]]})
    empty = _coco({**ground_truth, "annotations": []})
    found = truth.loadRes(only(predictions, SHAPES[task])) if predictions else empty
    return COCOeval(truth, found, task)


def _coco(content: dict) -> COCO:
    coco = COCO()
    coco.dataset = {"info": {}, **content}  # loadRes copies "info", which data sets of users may lack
    coco.createIndex()
    return coco


class CocoEvaluator(ByImage):
    """COCO's box and mask AP, by Detectron2's interface (reset, process, evaluate).

    Args:
        ground_truth: COCO dictionary of the images to evaluate on.
        category_ids: the data set's id of each of the detector's classes.
        tasks: of ``bbox`` and ``segm``.
        evaluator: ``hotcoco`` or ``pycocotools``.
    """

    def __init__(
        self, ground_truth: dict, category_ids: Sequence[int], tasks: Sequence[str], evaluator: str = "hotcoco"
    ):
        check_choice("--evaluator", evaluator, EVALUATORS)
        super().__init__(category_ids)
        self._ground_truth, self._tasks, self._evaluator = ground_truth, tuple(tasks), evaluator

    def evaluate(self) -> dict[str, Metrics]:
        """Return ``{task: {metric: percent or None}}`` in the main process, ``{}`` in others; all must call it."""
        if not self._gather({image["id"] for image in self._ground_truth["images"]}):
            return {}
        return {task: coco_metrics(self._ground_truth, self.predictions, task, self._evaluator) for task in self._tasks}
