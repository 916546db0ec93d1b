"""Fine-tuning on the GPU: C4 and FPN, twenty iterations at the protocols' 800 px, PreciseBN, evaluation, resume."""

import json
import os
import subprocess
import sys

import pytest

from benchmark.core.folder import ROOT
from tests.gpu.setting import DEVICE, DRY

ITERATIONS = 3 if DRY else 20
PROTOCOLS = ["embedded"] if DRY else ["coco-c4-1x", "coco-fpn-1x"]
TINY = ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64", "MODEL.RPN.POST_NMS_TOPK_TEST", "20"]

KILLED = """
import os, sys
from transfer.detection.trainer import DetectionTrainer
run_step = DetectionTrainer.run_step
def stop(self):
    if self.iter == {at}:
        os._exit(9)
    run_step(self)
DetectionTrainer.run_step = stop
from benchmark.core.errors import run_command
from transfer.coco import main
sys.exit(run_command(main, sys.argv[1:]))
"""


def arguments(folder, protocol, *more):
    """Return what a user types; the schedule is cut to a few iterations."""
    where = [f"--output={folder / 'run'}", f"--records={folder / 'records'}", f"--protocol={protocol}"]
    options = ["--weights=random", "--ims-per-batch=2", "--checkpoint-every=5", "--log-every=1", "--workers=2"]
    short = ["SOLVER.MAX_ITER", str(ITERATIONS), "SOLVER.WARMUP_ITERS", "1" if DRY else "5"]
    short += ["SOLVER.BASE_LR", "0.002"] + ([] if DRY else ["SOLVER.STEPS", "()", "TEST.PRECISE_BN.NUM_ITER", "10"])
    return [*where, *options, f"--device={DEVICE.type}", *more, *short, *(TINY if DRY else [])]


def call(given, prefix=()):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    program = [sys.executable, *(prefix or [str(ROOT / "transfer" / "coco.py")]), *given]
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=400 if DRY else 150)


def rows(folder):
    lines = (folder / "run" / "metrics.json").read_text(encoding="utf-8").splitlines()
    return {row["iteration"]: row["total_loss"] for row in map(json.loads, lines) if "total_loss" in row}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_trains_is_killed_goes_on_and_is_evaluated(protocol, tmp_path, record_property):
    given = arguments(tmp_path, protocol)
    killed = call(given, ["-c", KILLED.format(at=ITERATIONS // 2 + 1)])
    assert killed.returncode == 9, killed.stderr[-3000:]
    done = call(given)
    assert done.returncode == 0, done.stderr[-3000:]
    losses = rows(tmp_path)
    assert sorted(losses) == list(range(1, ITERATIONS + 1))
    assert all(loss > 0 for loss in losses.values())
    (path,) = (tmp_path / "records").glob("*.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["status"] == "completed"
    assert set(record["metrics"]) == {"bbox", "segm"}
    record_property("loss, first and last", [losses[1], losses[ITERATIONS]])
    record_property("hardware of the record", str(record.get("hardware")))


@pytest.mark.cuda_only
def test_the_embedded_protocol_in_bf16_learns(tmp_path, record_property):
    given = [f"--output={tmp_path / 'run'}", f"--records={tmp_path / 'records'}", "--weights=random", "--log-every=1"]
    done = call([*given, "--device=cuda"])
    assert done.returncode == 0, done.stderr[-3000:]
    losses = list(rows(tmp_path).values())
    record_property("loss, first and last ten", [sum(losses[:10]) / 10, sum(losses[-10:]) / 10])
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
