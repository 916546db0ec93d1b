"""Every method through the command: killed with SIGKILL and resumed, it ends as if nothing had happened."""

import json
import subprocess
import sys

import pytest

from benchmark.records.record import RunRecord
from tests.pretrain.methods import forked_runs
from tests.pretrain.methods.small import METHODS
from tests.pretrain.runs import environment, pictures


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forked")
    for name in ("cats", "dogs"):
        pictures(folder / "data" / name, 16)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", forked_runs.__file__, str(folder)],
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, {line["method"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", METHODS)
def test_killed_and_resumed_is_bit_identical(runs, name):
    found = runs[1][name]
    assert found["codes"] == [0, -9, 0]
    assert found["differing"] == []
    assert (found["iteration"], found["finite"]) == (4, True)


@pytest.mark.parametrize("name", METHODS)
def test_its_record_names_it_and_says_what_differs_from_the_released_run(runs, name):
    (path,) = (runs[0] / name / "whole-records").glob("*.json")
    record = RunRecord.read(path)
    assert (record.kind, record.status, record.method, record.epochs) == ("pretrain", "completed", name, 1)
    assert record.metrics["pretrain"]["loss"] is not None
    assert ("accuracy" in record.metrics["pretrain"]) == (name == "supervised")
    differs = record.details["differs_from_released"]
    assert differs["arch"] == {"released": "resnet50", "here": "resnet18"}
    assert differs["views"] == {"released": "reference", "here": "fast"}
    assert "seed" not in differs
