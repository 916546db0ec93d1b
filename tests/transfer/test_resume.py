"""Fine-tuning killed with SIGKILL and started again with the same command ends with bit-identical weights."""

import json
import signal
import time

import pytest
import torch

from benchmark.records import RunRecord
from pretrain.engine.checkpoint import LAST
from tests.faults.zygote import Zygote
from tests.transfer.runs import coco_root, flags
from transfer.detection.result import DETECTOR, RESULT

ITERATIONS = 8
WORDS = ("SOLVER.MAX_ITER", str(ITERATIONS))


def part_of(name):
    """Say when a file is being written: its temporary file exists."""
    return lambda run: any(run.glob(f".{name}.*.part"))


def logged(number):
    """Say when an iteration has been logged."""

    def reached(run):
        path = run / "metrics.json"
        return path.is_file() and f'"iteration": {number},' in path.read_text()

    return reached


# In the order in which one run meets them, checkpoints after iterations 3, 6 and 8: (name, when, workers).
KILLS = [
    ("nothing saved yet", logged(2), 0),
    ("write of the first checkpoint", part_of(LAST), 0),
    ("between checkpoints", logged(5), 2),
    ("write over the last checkpoint", part_of(LAST), 0),
    ("write of the detector", part_of(DETECTOR), 0),
    ("evaluation", lambda run: (run / DETECTOR).is_file(), 0),
]


def arguments(folder, data, **options):
    return flags(folder, data, *WORDS, checkpoint_every=3, **options)


def kill_when(zygote, reached, run, words):
    process = zygote.start(words, run.parent / "log")
    deadline = time.monotonic() + 120
    while not reached(run):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill_group()
            pytest.fail(f"the moment never came:\n{process.output[-3000:]}")
        time.sleep(0.0005)
    process.kill_group()
    assert process.returncode == -signal.SIGKILL, process.output


def finish(zygote, words, log):
    process = zygote.start(words, log)
    assert process.wait(240) == 0, process.output[-3000:]
    return process.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    data = coco_root(folder / "data")
    left = {}
    with Zygote("coco") as zygote:
        finish(zygote, arguments(folder / "whole", data), folder / "log")
        (folder / "killed").mkdir()
        for name, reached, workers in KILLS:
            run = folder / "killed" / "run"
            kill_when(zygote, reached, run, arguments(folder / "killed", data, workers=workers))
            last = run / LAST
            left[name] = torch.load(last, weights_only=True)["iteration"] if last.exists() else None
        said = finish(zygote, arguments(folder / "killed", data), folder / "log")
    return folder / "whole", folder / "killed", left, said


def test_every_kill_left_the_last_good_checkpoint(runs):
    assert list(runs[2].values()) == [None, None, 3, 3, ITERATIONS, ITERATIONS]


def test_the_detector_is_bit_identical(runs):
    whole, killed = (torch.load(runs[i] / "run" / DETECTOR, weights_only=True) for i in (0, 1))
    assert whole.keys() == killed.keys()
    assert whole["model"].keys() == killed["model"].keys()
    assert all(torch.equal(whole["model"][name], killed["model"][name]) for name in whole["model"])


def test_results_and_log_are_equal(runs):
    whole, killed = runs[0] / "run", runs[1] / "run"
    assert json.loads((whole / RESULT).read_text()) == json.loads((killed / RESULT).read_text())
    logs = [[json.loads(line) for line in (run / "metrics.json").read_text().splitlines()] for run in (whole, killed)]
    for log in logs:
        assert [line["iteration"] for line in log] == list(range(1, ITERATIONS + 1))
    assert [line["total_loss"] for line in logs[0]] == [line["total_loss"] for line in logs[1]]
    assert sorted(p.name for p in whole.iterdir()) == sorted(p.name for p in killed.iterdir())


def test_one_record_with_the_time_of_all_parts(runs):
    (path,) = (runs[1] / "records").glob("*.json")
    record = RunRecord.read(path)
    assert record.status == "completed"
    assert record.duration_seconds > torch.load(runs[1] / "run" / LAST, weights_only=True)["seconds"]
