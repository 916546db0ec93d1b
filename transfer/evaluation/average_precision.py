"""Average precision of a detector: COCO's by hotcoco or pycocotools, Pascal VOC's by Detectron2's ``voc_eval``.

All figures are percent. What cannot be computed (no object of that size or class) is None, never 0 or -1: a report must
not average it. A detector without any prediction has an AP of 0.0, which is a result.
"""

import contextlib
import io
import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import hotcoco
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog, build_detection_test_loader
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.evaluation.pascal_voc_evaluation import parse_rec, voc_eval
from detectron2.utils import comm
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmark.core.errors import RunFailed, check_choice
from benchmark.core.progress import progress
from transfer.datasets.dataset import DetectionData
from transfer.detection.config import EVALUATORS

# COCO's twelve numbers in the order of both evaluators' ``stats``; the digits after AR are detections an image.
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
SHAPES = {"bbox": "bbox", "segm": "segmentation"}  # task -> the part of a result that it compares
VOC_OVERLAPS = tuple(range(50, 100, 5))  # percent IoU, as in Detectron2's PascalVOCDetectionEvaluator

Metrics = dict[str, float | None]


def tasks_of(cfg: CfgNode) -> tuple[str, ...]:
    """Return what a detector is evaluated for: boxes, and masks if it has a mask head."""
    return ("bbox", "segm") if cfg.MODEL.MASK_ON else ("bbox",)


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
        Percent by ``METRICS`` and ``AP-<category>``; None where there is no object to find.

    Raises:
        UserError: no such evaluator.
        KeyError: no such task, or a prediction lacks its shape.
    """
    check_choice("--evaluator", evaluator, EVALUATORS)
    with contextlib.redirect_stdout(io.StringIO()):  # both evaluators print tables
        evaluation = prepare(ground_truth, predictions, task, evaluator)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = {name: _percent(value) for name, value in zip(METRICS, evaluation.stats, strict=True)}
    # (IoU, recall, category by ascending id, area range, detections an image); 0: all areas, -1: 100 an image
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    for k, category in enumerate(sorted(ground_truth["categories"], key=itemgetter("id"))):
        present = precision[:, :, k][precision[:, :, k] > -1]
        metrics[f"AP-{category['name']}"] = _percent(present.mean()) if present.size else None
    return metrics


def prepare(ground_truth: dict, predictions: list[dict], task: str, evaluator: str) -> Any:
    """Return the evaluator's ``COCOeval`` with the data loaded, as ``coco_metrics`` uses it; same arguments."""
    return {"hotcoco": _hotcoco, "pycocotools": _pycocotools}[evaluator](ground_truth, predictions, task)


def _hotcoco(ground_truth: dict, predictions: list[dict], task: str) -> hotcoco.COCOeval:
    truth = hotcoco.COCO(ground_truth)
    if not predictions:  # load_res cannot know what an empty list holds
        found = hotcoco.COCO({**ground_truth, "annotations": []})
    else:
        found = truth.load_res(_table(predictions) if task == "bbox" else _only(predictions, SHAPES[task]))
    return hotcoco.COCOeval(truth, found, task)


def _pycocotools(ground_truth: dict, predictions: list[dict], task: str) -> COCOeval:
    # pycocotools writes into the dictionaries it is given, hence the copies.
    truth = _coco({**ground_truth, "annotations": [dict(a) for a in ground_truth["annotations"]]})
    empty = _coco({**ground_truth, "annotations": []})
    found = truth.loadRes(_only(predictions, SHAPES[task])) if predictions else empty
    return COCOeval(truth, found, task)


def _only(predictions: list[dict], shape: str) -> list[dict]:
    kept = ("image_id", "category_id", "score", shape)
    return [{key: prediction[key] for key in kept} for prediction in predictions]


def _table(predictions: list[dict]) -> np.ndarray:
    """Return rows of image id, x, y, w, h, score, category id, exact as float64: read faster than dictionaries."""
    count = len(predictions)
    rows = np.empty((count, 7))
    for column, key in ((0, "image_id"), (5, "score"), (6, "category_id")):
        rows[:, column] = np.fromiter(map(itemgetter(key), predictions), np.float64, count)
    numbers = chain.from_iterable(map(itemgetter("bbox"), predictions))
    rows[:, 1:5] = np.fromiter(numbers, np.float64, 4 * count).reshape(count, 4)
    return rows


def _coco(content: dict) -> COCO:
    coco = COCO()
    coco.dataset = {"info": {}, **content}  # loadRes copies "info", which data sets of users may lack
    coco.createIndex()
    return coco


def _percent(value: float) -> float | None:
    """Return 100 x `value`; None for COCO's -1 and for NaN, which mean that there was nothing to measure."""
    return None if math.isnan(value) or value < 0 else 100.0 * float(value)


class _ByImage(DatasetEvaluator):
    """Keeps what a detector says of each image once, and gathers that over the processes.

    ``predictions`` are COCO results of all images in order of their ids, after ``evaluate`` and in the main process.
    """

    def __init__(self, category_ids: Sequence[int]):
        self._category_ids = tuple(category_ids)
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._images: dict[Any, list[dict]] = {}
        self.predictions: list[dict] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep the ``instances`` that the detector returned for each input, as COCO results."""
        for image, output in zip(inputs, outputs, strict=True):
            results = instances_to_coco_json(output["instances"].to("cpu"), image["image_id"])
            for result in results:
                result["category_id"] = self._category_ids[result["category_id"]]
            self._images[image["image_id"]] = results

    def _gather(self, expected: set) -> bool:
        """Collect ``predictions`` in the main process; say whether this is the main process.

        An image that a sampler gave to two processes to even out their loads counts once. Raises ``RunFailed`` there
        unless exactly the images `expected` were processed: AP over fewer would pass for AP over all.
        """
        parts = comm.gather(self._images, dst=0)
        if not comm.is_main_process():
            return False
        images: dict[Any, list[dict]] = {}
        for part in parts:
            images |= part
        if set(images) != expected:
            odd = sorted(set(images) ^ expected, key=str)
            raise RunFailed(
                f"the detector was run on {len(images)} images but the evaluation is over {len(expected)} "
                f"(first difference: image {odd[0]}); its AP would not be comparable"
            )
        self.predictions = [result for image_id in sorted(images) for result in images[image_id]]
        return True


class CocoEvaluator(_ByImage):
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


class VocEvaluator(_ByImage):
    """Pascal VOC's AP as Detectron2's ``PascalVOCDetectionEvaluator`` gives it, and the AP of each class.

    Its conventions are kept: results rounded to 0.001 (scores) and 0.1 px, boxes that hold their last pixel, the
    11-point mean for VOC 2007, "difficult" objects neither wanted nor punished. One thing differs: a class without an
    object to find is missing (None) and left out of the means, where Detectron2 would count it as 0. VOC 2007's test
    set has all its classes, so its numbers are Detectron2's own (a test holds that).

    Args:
        name: of a registered data set whose metadata hold ``dirname``, ``split``, ``year`` and ``thing_classes``.
        category_ids: the id of each class in ``predictions``; default 1, 2, ...
    """

    def __init__(self, name: str, category_ids: Sequence[int] | None = None):
        metadata = MetadataCatalog.get(name)
        self._classes = tuple(metadata.thing_classes)
        super().__init__(category_ids or range(1, len(self._classes) + 1))
        folder = Path(metadata.dirname)
        braces_kept = str(folder / "Annotations").replace("{", "{{").replace("}", "}}")
        self._annotation = f"{braces_kept}/{{}}.xml"  # voc_eval formats it with an image's name
        self._image_set = folder / "ImageSets" / "Main" / f"{metadata.split}.txt"
        self._eleven_points = metadata.year == 2007

    def evaluate(self) -> dict[str, Metrics]:
        """Return ``{"bbox": {"AP", "AP50", "AP75", "AP-<class>": percent or None}}``, ``{}`` outside the main process.

        All processes must call it.
        """
        names = self._image_set.read_text(encoding="utf-8").split()
        if not self._gather(set(names)):
            return {}
        lines = defaultdict(list)
        for result in self.predictions:
            lines[result["category_id"]].append(_voc_line(result))
        wanted = self._objects_wanted(names)
        by_class: dict[str, np.ndarray | None] = {}
        with tempfile.TemporaryDirectory() as folder:
            for name, category_id in progress(
                list(zip(self._classes, self._category_ids, strict=True)), "evaluating", "class"
            ):
                results = Path(folder) / f"{category_id}.txt"
                results.write_text("\n".join(lines[category_id]), encoding="utf-8")
                by_class[name] = self._precisions(results, name) if wanted[name] else None
        return {"bbox": _voc_summary(by_class)}

    def _objects_wanted(self, names: Sequence[str]) -> Counter:
        """Count the objects of each class that are not marked difficult."""
        records = (record for name in names for record in parse_rec(self._annotation.format(name)))
        return Counter(record["name"] for record in records if not record["difficult"])

    def _precisions(self, results: Path, name: str) -> np.ndarray:
        """Return the AP, 0 to 1, of a class at each of ``VOC_OVERLAPS``."""
        precisions = []
        for overlap in VOC_OVERLAPS:
            # The file's path has no placeholder, so that a class name need not be a file's name.
            arguments = (str(results), self._annotation, str(self._image_set), name)
            precisions.append(voc_eval(*arguments, overlap / 100, self._eleven_points)[2])
        return np.array(precisions)


def _voc_line(result: dict) -> str:
    """Write a result as VOC's development kit reads it: 1-based, rounded as Detectron2 rounds."""
    x, y, w, h = result["bbox"]
    return f"{result['image_id']} {result['score']:.3f} {x + 1:.1f} {y + 1:.1f} {x + w:.1f} {y + h:.1f}"


def _voc_summary(by_class: dict[str, np.ndarray | None]) -> Metrics:
    present = [precisions for precisions in by_class.values() if precisions is not None]
    mean = np.mean(present, axis=0) if present else np.full(len(VOC_OVERLAPS), np.nan)
    at = dict(zip(VOC_OVERLAPS, mean, strict=True))
    metrics = {"AP": _percent(mean.mean()), "AP50": _percent(at[50]), "AP75": _percent(at[75])}
    for name, precisions in by_class.items():
        metrics[f"AP-{name}"] = None if precisions is None else _percent(precisions.mean())
    return metrics


def run_evaluation(
    model: nn.Module, cfg: CfgNode, data: DetectionData, evaluator: str = "hotcoco"
) -> tuple[dict[str, Metrics], list[dict]]:
    """Run a detector over the test split in eval mode and float32, and return (metrics, predictions).

    Each process takes its share of the images; all must call this. Train and eval modes are restored.

    Args:
        model: a detector; if DistributedDataParallel wraps it, the detector inside runs (shares may differ by an
            image, and DDP's own forward waits for all).
        cfg: its effective config.
        data: its ``test`` names are run over.
        evaluator: for COCO, ``hotcoco`` or ``pycocotools``.

    Returns:
        ``{task: {metric: percent or None}}`` and COCO results in the main process; ``({}, [])`` in others.

    Raises:
        UserError: no such evaluator.
        RunFailed: not all images were processed.
    """
    detector = model.module if isinstance(model, DistributedDataParallel) else model
    judge = _evaluator(cfg, data, evaluator)
    loader = build_detection_test_loader(cfg, list(data.test))
    bar = progress(loader, "evaluating", "image", disable=not comm.is_main_process())
    with _inference(detector, cfg.MODEL.DEVICE):
        for inputs in bar:
            judge.process(inputs, detector(inputs))
    return judge.evaluate(), judge.predictions


def _evaluator(cfg: CfgNode, data: DetectionData, evaluator: str) -> CocoEvaluator | VocEvaluator:
    if data.task == "coco":
        return CocoEvaluator(data.ground_truth(), data.category_ids, tasks_of(cfg), evaluator)
    (name,) = data.test
    return VocEvaluator(name, data.category_ids)


@contextlib.contextmanager
def _inference(model: nn.Module, device: str) -> Iterator[None]:
    """Eval mode without gradients and without autocast inside; each module's own mode is restored after."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        for module, training in modes:
            module.training = training
