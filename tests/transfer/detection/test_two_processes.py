"""Two processes that see different images keep one set of weights: their gradients are joined."""

import torch

from benchmark.core.folder import ROOT
from tests.transfer.runs import coco_root, flags, start

SCRIPT = str(ROOT / "tests" / "transfer" / "two_processes_training.py")


def test_both_processes_hold_the_same_weights_after_other_images(tmp_path):
    data = coco_root(tmp_path / "data")
    arguments = flags(tmp_path, data, "SOLVER.MAX_ITER", "2", "SOLVER.WARMUP_ITERS", "0")
    process = start([str(tmp_path), *arguments], processes=2, script=SCRIPT)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["seen"] != second["seen"]
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in first["weights"])
