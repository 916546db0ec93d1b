"""The whole way from a detector's Instances through the loader to figures, on one process and on two.

``two_processes_evaluating.py`` holds what the gloo processes run.
"""

import json
import subprocess
import sys

import pytest
import torch

from tests.pretrain.runs import environment
from tests.transfer.evaluation import two_processes_evaluating
from tests.transfer.evaluation.oracle import Oracle, coco_data, config
from transfer.evaluation.evaluators import EVALUATORS
from transfer.evaluation.run import run_evaluation


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_a_perfect_detector_gets_100_through_the_loader(evaluator):
    data = coco_data()
    model = Oracle(*data.test).train()
    model.part.eval()  # a frozen part stays as it was
    with torch.autocast("cpu", torch.bfloat16):
        metrics, predictions = run_evaluation(model, config(), data, evaluator)
    assert list(metrics) == ["bbox", "segm"]
    assert metrics["bbox"]["AP"] == metrics["segm"]["AP"] == pytest.approx(100.0)
    assert model.training
    assert not model.part.training
    assert model.seen == len(data.ground_truth()["images"])
    assert len(predictions) == len(data.ground_truth()["annotations"])
    assert {result["category_id"] for result in predictions} <= set(data.category_ids)
    boxes_only, _ = run_evaluation(model, config(masks=False), data, evaluator)
    assert list(boxes_only) == ["bbox"]


def test_two_processes_equal_one(tmp_path):
    """Predictions gathered over two gloo processes (shares of 13 and 12 images) equal one's."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [*launcher, two_processes_evaluating.__file__, str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    alone = json.loads(json.dumps(two_processes_evaluating.measure()))
    assert {task: first[task] for task in ("coco", "voc", "doubled")} == {
        task: alone[task] for task in ("coco", "voc", "doubled")
    }
    assert sorted((first["seen"], second["seen"])) == [12, 13]
    assert alone["seen"] == 25
    assert second["coco"] == second["voc"] == second["doubled"] == [{}, []]
