"""Saved detections: scored as pycocotools scores them; TIDE's errors where each kind was planted; the bootstrap."""

import contextlib
import copy
import io
import random

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmark.core.errors import UserError
from benchmark.detections import reasons
from benchmark.detections.files import read_ground_truth, read_predictions
from benchmark.detections.scoring import COCO_METRICS, score

TRUTH = {
    "info": {},
    "images": [{"id": i, "width": 200, "height": 200, "file_name": f"{i}.jpg"} for i in range(40)],
    "categories": [{"id": c, "name": f"c{c}"} for c in (1, 2, 3)],
    "annotations": [
        {
            "id": 3 * i + k + 1, "image_id": i, "category_id": 1 + (i + k) % 3, "iscrowd": 0,
            "bbox": [10 + 60 * k, 20, 40, 40 + 2 * i], "area": 40 * (40 + 2 * i),
        }
        for i in range(40)
        for k in range(3)
    ],
}  # fmt: skip


def found(seed, *, noise=0.0, missing=0.0, wrong=0.0, background=0):
    """Return detections made from the truth with errors of chosen kinds."""
    draw = random.Random(seed)
    made = []
    for a in TRUTH["annotations"]:
        if draw.random() < missing:
            continue
        x, y, w, h = a["bbox"]
        category = 1 + a["category_id"] % 3 if draw.random() < wrong else a["category_id"]
        box = [x + draw.uniform(-noise, noise) * w, y, w, h]
        made.append({"image_id": a["image_id"], "category_id": category, "score": draw.uniform(0.5, 1), "bbox": box})
    for _ in range(background):
        box = [150.0, 150.0, 20.0, 20.0]
        made.append({"image_id": draw.randrange(40), "category_id": 1, "score": draw.uniform(0.5, 1), "bbox": box})
    return made


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_pycocotools(seed):
    predictions = found(seed, noise=0.4, missing=0.2, wrong=0.1, background=10)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(TRUTH)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(predictions)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ours = score(TRUTH, predictions, "bbox")
    for name, value in zip(COCO_METRICS, evaluation.stats, strict=True):
        assert ours[name] == (None if value < 0 else pytest.approx(100 * value, abs=1e-9))


def test_no_detection_scores_zero_and_not_nothing():
    assert score(TRUTH, [], "bbox")["AP"] == 0.0


@pytest.mark.parametrize(
    ("kind", "errors"),
    [("Miss", {"missing": 0.4}), ("Cls", {"wrong": 0.4}), ("Bkg", {"background": 150}), ("Loc", {"noise": 0.7})],
)
def test_the_planted_error_is_the_one_that_costs_most(kind, errors):
    costs = reasons.errors(TRUTH, found(1, **errors), "bbox")
    assert max(costs.cost, key=costs.cost.get) == kind
    assert costs.counts[kind] > 0
    assert costs.base_ap50 == pytest.approx(score(TRUTH, found(1, **errors), "bbox")["AP50"], abs=0.5)


def test_perfect_detections_have_no_error():
    costs = reasons.errors(TRUTH, found(0), "bbox")
    assert all(value == pytest.approx(0.0, abs=1e-9) for value in costs.cost.values())


def test_the_bootstrap_over_images_brackets_the_difference():
    worse, better = found(1, noise=0.5, missing=0.3), found(2, noise=0.2, missing=0.1)
    made = reasons.difference_over_images(TRUTH, worse, better, "bbox", resamples=200, seed=3)
    expected = score(TRUTH, better, "bbox")["AP"] - score(TRUTH, worse, "bbox")["AP"]
    assert made["AP"].difference == pytest.approx(expected, abs=1e-9)
    assert 0 < made["AP"].low < made["AP"].difference < made["AP"].high
    again = reasons.difference_over_images(TRUTH, worse, better, "bbox", resamples=200, seed=3)
    assert again == made


def test_equal_detections_differ_by_nothing():
    same = reasons.difference_over_images(TRUTH, found(1, noise=0.3), found(1, noise=0.3), "bbox", resamples=50)
    assert (same["AP"].low, same["AP"].difference, same["AP"].high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "text", ["{", "[1]", '[{"image_id": true, "category_id": 1, "score": 1, "bbox": [0, 0, 1, 1]}]']
)
def test_bad_detections_end_in_one_sentence(tmp_path, text):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(UserError):
        read_predictions(tmp_path / "p.json")


def test_bad_ground_truth_ends_in_one_sentence(tmp_path):
    (tmp_path / "t.json").write_text("[]")
    with pytest.raises(UserError, match="not a COCO annotation file"):
        read_ground_truth(tmp_path / "t.json")
