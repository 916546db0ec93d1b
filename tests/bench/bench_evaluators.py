"""COCO's box AP by hotcoco against pycocotools, pairs interleaved, on a seeded set of the size of COCO val 2017.

5,000 images, 36,000 objects of 80 categories, 250,000 boxes. Both are fed the same lists and dictionaries in memory, as
after a run of the detector. "Whole" is what a user waits for: ``coco_metrics``, that is copying, loading and indexing,
evaluation, the AP of each category. "Evaluation" is evaluate, accumulate and summarize on data loaded before. Their
numbers must be equal to 1e-9.
"""

import contextlib
import io
from collections.abc import Callable

import numpy as np

from tests.bench.timing import interleaved
from transfer.evaluation import coco_ap as evaluation

IMAGES, OBJECTS, BOXES, CATEGORIES = 5_000, 36_000, 250_000, 80
WIDTH, HEIGHT = 640, 480  # px
PAIRS = 3  # pycocotools takes the better part of a minute
EQUAL = 1e-9  # percent


def synthetic(seed: int = 0) -> tuple[dict, list[dict]]:
    """Return a ground truth and detections: half are moved objects, a tenth of another class, and half are false."""
    rng = np.random.default_rng(seed)
    truth = _table(rng, OBJECTS)
    source = rng.integers(OBJECTS, size=BOXES)
    found = truth[source]
    found[:, 2:] += rng.normal(scale=0.1, size=(BOXES, 4)) * found[:, [4, 5, 4, 5]]
    found[:, 4:] = np.maximum(found[:, 4:], 1.0)
    scores = rng.beta(2.0, 2.0, BOXES)
    false = rng.random(BOXES) < 0.5
    found[false] = _table(rng, int(false.sum()))
    scores[false] *= 0.7
    confused = rng.random(BOXES) < 0.1
    found[confused, 1] = rng.integers(1, CATEGORIES + 1, confused.sum())
    ground_truth = {
        "images": [{"id": i + 1, "file_name": f"{i + 1}.jpg", "width": WIDTH, "height": HEIGHT} for i in range(IMAGES)],
        "categories": [{"id": i + 1, "name": f"category {i + 1}"} for i in range(CATEGORIES)],
        "annotations": [
            {"id": i + 1, "iscrowd": int(crowd), "area": 0.6 * row[4] * row[5], **_box(row)}
            for i, (row, crowd) in enumerate(zip(truth.tolist(), rng.random(OBJECTS) < 0.01, strict=True))
        ],
    }
    results = [{"score": score, **_box(row)} for row, score in zip(found.tolist(), scores.tolist(), strict=True)]
    return ground_truth, results


def _table(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Return rows of image id, category id, x, y, w, h; sides from 8 px to 300 px, evenly by their logarithm."""
    sides = np.exp(rng.uniform(np.log(8), np.log(300), (rows, 2)))
    corner = rng.random((rows, 2)) * (np.array([WIDTH, HEIGHT]) - sides)
    ids = np.column_stack([rng.integers(1, IMAGES + 1, rows), rng.integers(1, CATEGORIES + 1, rows)])
    return np.hstack([ids, corner, sides])


def _box(row: list[float]) -> dict:
    return {"image_id": int(row[0]), "category_id": int(row[1]), "bbox": row[2:6]}


def alone(name: str, ground_truth: dict, results: list[dict]) -> Callable[[], object]:
    """Return the evaluation alone, on data loaded here."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = evaluation.loaded_evaluation(ground_truth, results, "bbox", name)

    def run() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()

    return run


def main() -> None:
    """Print the seconds of both evaluators and their ratio (median of the pairs). Raises if the numbers differ."""
    data = synthetic()
    tables = {}

    def whole(name: str) -> None:
        tables[name] = evaluation.coco_metrics(*data, "bbox", name)

    measured = {
        "whole": interleaved(lambda: whole("pycocotools"), lambda: whole("hotcoco"), PAIRS),
        "evaluation": interleaved(alone("pycocotools", *data), alone("hotcoco", *data), PAIRS),
    }
    apart = max(abs(tables["pycocotools"][name] - value) for name, value in tables["hotcoco"].items())
    if apart > EQUAL:
        raise AssertionError(f"the evaluators differ by {apart} percent")
    print(f"{IMAGES:,} images, {OBJECTS:,} objects, {BOXES:,} boxes: AP {tables['hotcoco']['AP']:.3f} by both,")
    print(f"all {len(tables['hotcoco'])} numbers within {apart:.1e} percent; median of {PAIRS} interleaved pairs")
    print(f"{'':10} {'pycocotools, s':>15} {'hotcoco, s':>11} {'ratio':>6}")
    for what, timing in measured.items():
        print(f"{what:10} {timing.first_s:15.2f} {timing.second_s:11.3f} {timing.ratio:6.1f}")


if __name__ == "__main__":
    main()
