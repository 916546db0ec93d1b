"""COCO's AP by both evaluators on real annotations, missing against zero, and what may not be left out.

The oracles are pycocotools for hotcoco, Detectron2's own evaluator for ours, and the ground truth given as detections,
which must score 100.
"""

import copy

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import COCOEvaluator

from benchmark.core.errors import RunFailed, UserError
from tests.transfer.evaluation.detections import noisy, perfect, truth_of
from tests.transfer.evaluation.oracle import SIZE, Oracle, coco_data, config
from transfer.evaluation.coco_ap import COCO_METRICS, CocoEvaluator, coco_metrics
from transfer.evaluation.evaluators import EVALUATORS
from transfer.evaluation.run import run_evaluation

TASKS = ("bbox", "segm")
EQUAL = 1e-9  # percent: how close both evaluators must be


def apart(first, second):
    """Return the greatest difference of two tables of metrics, which must miss the same figures."""
    assert list(first) == list(second)
    assert [name for name in first if first[name] is None] == [name for name in second if second[name] is None]
    return max(abs(first[name] - second[name]) for name in first if first[name] is not None)


@pytest.mark.parametrize("evaluator", EVALUATORS)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("which", ["embedded", "coco600"])
def test_ground_truth_as_detections_gives_100(which, task, evaluator):
    truth = truth_of(which)
    before = copy.deepcopy(truth)
    found = coco_metrics(truth, perfect(truth), task, evaluator)
    assert truth == before  # pycocotools by itself writes into its arguments
    full = [name for name in found if name not in ("AR1", "AR10")]
    assert {name: found[name] for name in full if found[name] is not None} == pytest.approx(
        {name: 100.0 for name in full if found[name] is not None}, abs=EQUAL
    )
    assert found["AP"] is not None
    assert 0 < found["AR1"] < 100
    names = {c["id"]: c["name"] for c in truth["categories"]}
    have = {names[a["category_id"]] for a in truth["annotations"] if not a.get("iscrowd")}
    assert {name for name in names.values() if found[f"AP-{name}"] is not None} == have


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("which", ["embedded", "coco600"])
def test_both_evaluators_agree_on_noisy_detections(which, task):
    truth = truth_of(which)
    detections = noisy(truth)
    crowds = [a for a in truth["annotations"] if a.get("iscrowd")]
    assert bool(crowds) == (which == "coco600")
    first, second = (coco_metrics(truth, detections, task, evaluator) for evaluator in EVALUATORS)
    assert set(COCO_METRICS) < set(first)
    assert len(first) == len(COCO_METRICS) + len(truth["categories"])
    assert apart(first, second) <= EQUAL
    assert 1 < first["AP"] < first["AP50"] < 99


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_only_the_100_best_of_a_class_in_an_image_count(evaluator):
    truth = truth_of("embedded")
    good = perfect(truth)
    junk = [{**good[0], "bbox": [0.0, 0.0, 2.0, 2.0], "score": 2.0}] * 100
    alike = [r for r in good if (r["image_id"], r["category_id"]) == (good[0]["image_id"], good[0]["category_id"])]
    assert len(alike) == 1
    lost, kept = (coco_metrics(truth, good + junk[:n], "bbox", evaluator)["AR100"] for n in (100, 99))
    assert kept == pytest.approx(100.0)
    assert lost == pytest.approx(coco_metrics(truth, good[1:], "bbox", evaluator)["AR100"])
    assert lost < 100.0


@pytest.mark.parametrize("evaluator", EVALUATORS)
@pytest.mark.parametrize("task", TASKS)
def test_no_prediction_is_zero_and_what_has_no_object_is_missing(task, evaluator, capfd):
    truth = truth_of("embedded")
    truth["categories"].append({"id": 99, "name": "unseen"})
    found = coco_metrics(truth, [], task, evaluator)
    assert found["AP"] == found["AR100"] == found["APs"] == 0.0
    assert found["APl"] is found["ARl"] is found["AP-unseen"] is None  # 64 px hold nothing larger than 96 px
    assert list(found)[: len(COCO_METRICS)] == list(COCO_METRICS)
    nothing = coco_metrics({**truth, "annotations": []}, perfect(truth), task, evaluator)
    assert set(nothing.values()) == {None}
    assert capfd.readouterr() == ("", "")  # both evaluators like to talk


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_unicode_names_and_an_image_without_objects(evaluator):
    truth = truth_of("embedded")
    truth["categories"][0]["name"] = "Vögel 鳥 / {0}"
    truth["images"].append({"id": 999, "file_name": "empty.png", "height": SIZE, "width": SIZE})
    detections = perfect(truth)
    found = coco_metrics(truth, detections, "segm", evaluator)
    assert found["AP-Vögel 鳥 / {0}"] == pytest.approx(100.0)
    false = {**detections[0], "image_id": 999, "score": 2.0}
    assert coco_metrics(truth, [*detections, false], "segm", evaluator)["AP"] < 99.0


def test_sizes_of_predicted_masks_are_those_of_the_masks():
    """A box beside a mask must not decide its size: Detectron2 drops it for the same reason."""
    truth = truth_of("embedded")
    detections = noisy(truth, seed=3)
    widened = [{**result, "bbox": [0.0, 0.0, 64.0, 64.0]} for result in detections]
    assert coco_metrics(truth, widened, "segm") == coco_metrics(truth, detections, "segm")


def test_unknown_evaluator_is_refused():
    with pytest.raises(UserError, match="did you mean 'hotcoco'"):
        coco_metrics(truth_of("embedded"), [], "bbox", "hotcocoa")


def test_same_numbers_as_detectron2(tmp_path):
    """Detectron2's COCOEvaluator reads the annotation file by itself, and its own way from Instances to numbers."""
    data = coco_data()
    model = Oracle(*data.test, jitter=6.0).eval()
    metrics, _ = run_evaluation(model, config(), data)
    theirs = COCOEvaluator(*data.test, tasks=TASKS, distributed=False, output_dir=str(tmp_path), use_fast_impl=False)
    theirs.reset()
    records = DatasetCatalog.get(*data.test)
    with torch.no_grad():
        theirs.process(records, model(records))
    expected = theirs.evaluate()
    assert 1 < metrics["bbox"]["AP"] < 99
    for task in TASKS:
        for name, value in expected[task].items():
            found = metrics[task][name]
            assert (found is None and np.isnan(value)) or found == pytest.approx(value, abs=EQUAL)


def test_an_image_left_out_is_a_failure_and_not_a_lower_ap():
    data = coco_data()
    model = Oracle(*data.test).eval()
    judge = CocoEvaluator(data.ground_truth(), data.category_ids, TASKS)
    records = DatasetCatalog.get(*data.test)
    with torch.no_grad():
        judge.process(records[1:], model(records[1:]))
        with pytest.raises(RunFailed, match=f"24 images but the evaluation is over 25.*image {records[0]['image_id']}"):
            judge.evaluate()
        judge.process(records, model(records))  # images seen twice count once
    assert judge.evaluate()["bbox"]["AP"] == pytest.approx(100.0)
    assert len(judge.predictions) == len(data.ground_truth()["annotations"])
    judge.reset()
    assert judge.predictions == []
