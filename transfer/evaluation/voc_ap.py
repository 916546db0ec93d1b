"""Pascal VOC's average precision, by Detectron2's ``voc_eval``.

All figures are percent. What cannot be computed (no object of that size or class) is None, never 0 or -1: a report must
not average it.
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation.pascal_voc_evaluation import parse_rec, voc_eval

from benchmark.core.progress import progress
from transfer.evaluation.by_image import ByImage, Metrics, percent

VOC_OVERLAPS = tuple(range(50, 100, 5))  # percent IoU, as in Detectron2's PascalVOCDetectionEvaluator


class VocEvaluator(ByImage):
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
    metrics = {"AP": percent(mean.mean()), "AP50": percent(at[50]), "AP75": percent(at[75])}
    for name, precisions in by_class.items():
        metrics[f"AP-{name}"] = None if precisions is None else percent(precisions.mean())
    return metrics
