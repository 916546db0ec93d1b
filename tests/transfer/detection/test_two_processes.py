"""Two processes that see different images keep one set of weights, and end together when one of them diverges."""

import json

import pytest
import torch

from benchmark.core.folder import ROOT
from benchmark.records import RunRecord
from tests.transfer.runs import coco_root, flags, start

FOLDER = ROOT / "tests" / "transfer" / "detection"
TRAINING, DIVERGING = (str(FOLDER / f"two_processes_{name}.py") for name in ("training", "diverging"))
SMALL = ("SOLVER.MAX_ITER", "3", "SOLVER.WARMUP_ITERS", "0", "MODEL.RPN.POST_NMS_TOPK_TRAIN", "30")


def test_both_processes_hold_the_same_weights_after_other_images(tmp_path):
    data = coco_root(tmp_path / "data")
    arguments = flags(tmp_path, data, "SOLVER.MAX_ITER", "2", "SOLVER.WARMUP_ITERS", "0")
    process = start([str(tmp_path), *arguments], processes=2, script=TRAINING)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["seen"] != second["seen"]
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in first["weights"])


@pytest.mark.parametrize("when", ["2", "statistics"])
def test_both_end_as_diverged_when_one_of_them_meets_what_is_not_finite(when, tmp_path):
    """C4's res5 and its norm come after the search for regions: the other process would wait in that norm for ever."""
    data = coco_root(tmp_path / "data", train=4, val=2)
    words = [*SMALL, "SOLVER.STEPS", "()", "TEST.PRECISE_BN.NUM_ITER", "1"]
    arguments = flags(tmp_path, data, *words, protocol="coco-c4-1x", ims_per_batch=2, checkpoint_every=1)
    arguments += ["SOLVER.CLIP_GRADIENTS.ENABLED", "True", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm"]
    process = start([when, *arguments], processes=2, script=DIVERGING)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 1, output[-3000:]
    (path,) = (tmp_path / "records").glob("*.json")
    record = RunRecord.read(path)
    assert record.status == "diverged"
    assert record.details["iteration"] == (2 if when == "2" else 3)
    assert ("statistics of batch norm" if when == "statistics" else "loss") in record.details["reason"]
    assert json.loads((tmp_path / "run" / "outcome.json").read_text())["exit_code"] == 1
