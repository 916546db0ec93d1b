"""States, costs and power, from records and folders."""

import pytest
from filelock import FileLock

from benchmark import run
from benchmark.comparison.inference import detectable
from benchmark.core.files import write_json
from benchmark.core.lock import LOCK_FILE
from benchmark.records import RunRecord
from benchmark.runner.cost import Costs, left
from benchmark.runner.overview import counts, power_line
from benchmark.runner.planned import PlannedRun
from benchmark.runner.power import powers
from benchmark.runner.state import State, states
from benchmark.runner.suite import Resources


def planned(tmp_path, name="a", kind="coco", group=None, needs=None, **options):
    return PlannedRun(name, kind, (), tmp_path / name, Resources(), needs, group or name, options)


def record(name, tmp_path, status="completed", **changes):
    values = {"id": name, "kind": "detection", "status": status, "method": "random", "seed": 0, "metrics": {}}
    values |= {"duration_seconds": 3600.0, "protocol": "coco-c4-1x", "config": {"output": str(tmp_path / name)}}
    values |= {"hardware": {"processes": 8}}
    return RunRecord(**(values | changes))


def test_states_come_from_records_locks_and_endings(tmp_path):
    names = ["done", "failed", "diverged", "running", "stopped", "begun", "new"]
    runs = [planned(tmp_path, name) for name in names]
    for name in names[:-1]:
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "run.json", {})
    write_json(tmp_path / "stopped" / "outcome.json", {"status": "stopped", "exit_code": 75})
    known = [record("done", tmp_path), record("failed", tmp_path, "failed", details={"reason": "no memory"})]
    known.append(record("diverged", tmp_path, "diverged", details={"iteration": 34, "lr_at_end": 0.02}))
    with FileLock(tmp_path / "running" / LOCK_FILE, thread_local=False):
        found = states(runs, known)
    assert [found[name].name for name in names] == [
        "done",
        "failed",
        "diverged",
        "running",
        "stopped",
        "to do",
        "to do",
    ]
    assert (found["failed"].detail, found["begun"].detail, found["new"].detail) == ("no memory", "it continues", "")
    assert counts(found) == "7 runs: 1 done, 1 running, 1 diverged, 1 failed, 1 stopped, 2 to do"


def test_costs_are_measured_where_such_runs_are_recorded(tmp_path):
    runs = [
        planned(tmp_path, "a", protocol="coco-c4-1x"),
        planned(tmp_path, "b", protocol="coco-c4-2x"),
        planned(tmp_path, "c", protocol="embedded"),
        planned(tmp_path, "d", "pretrain", epochs=100, method="simsiam", data="/imagenet"),
        planned(tmp_path, "e", "pretrain", epochs=100, method="byol", data="/imagenet"),
        planned(tmp_path, "f", "pretrain", epochs=2),
    ]
    costs = Costs([record("x", tmp_path), record("y", tmp_path, duration_seconds=7200.0)])
    found = {run.name: costs.of(run) for run in runs}
    assert (found["a"].gpu_hours, found["a"].source) == (12.0, "measured, 2 runs")
    assert found["b"].gpu_hours == 115.0
    assert found["c"].gpu_hours is None
    assert found["d"].gpu_hours / found["e"].gpu_hours == pytest.approx(6 / 8)
    assert found["f"].gpu_hours is None
    known = {run.name: State("done" if run.name == "b" else "to do") for run in runs}
    hours, unknown = left(runs, known, costs)
    assert hours == pytest.approx(12 + found["d"].gpu_hours + found["e"].gpu_hours)
    assert unknown == 2
    ours = record("p", tmp_path, kind="pretrain", protocol=None, epochs=50, config={"method": "byol", "data": "/d"})
    assert Costs([ours]).of(runs[4]).gpu_hours == pytest.approx(8.0 * 100 / 50)
    failed = Costs([record("x", tmp_path, "failed")])
    assert failed.of(runs[0]).source == "A100 hours of RegionCL's logs"


def test_power_takes_the_sd_of_records_and_else_the_published_one(tmp_path):
    runs = [
        planned(tmp_path, f"{group}{seed}", group=group, protocol="coco-c4-1x", seed=seed)
        for group in ("random", "a")
        for seed in range(3)
    ]
    (power,) = powers(runs, [])
    assert (power.repeats, power.units, power.sds) == (3, "fine-tunings", (0.12, 0.3))
    assert power.smallest == (detectable(0.12, 3, 4), detectable(0.3, 3, 4))  # two settings, two degrees each
    assert "about these checkpoints" in power_line(power)
    boxes = [26.0, 26.2, 26.4, 26.1, 26.3, 26.2]
    measured = [
        record(f"r{n}", tmp_path, seed=n, metrics={"bbox": {"AP": box}}, details={"lr": 0.02}, data="coco")
        for n, box in enumerate(boxes)
    ]
    (power,) = powers(runs, measured)
    assert power.sds == (pytest.approx(0.1414, abs=1e-3),)
    assert "5 degrees of freedom" in power.source


def test_power_counts_checkpoints_where_pretraining_has_seeds(tmp_path):
    runs = [planned(tmp_path, f"r{s}", group="random", protocol="coco-c4-1x", seed=s) for s in range(3)]
    runs += [
        planned(tmp_path, f"a{p}{s}", group="a", needs=f"p{p}", protocol="coco-c4-1x", seed=s)
        for p in range(2)
        for s in range(3)
    ]
    (power,) = powers(runs, [])
    assert (power.repeats, power.units) == (2, "checkpoints")
    assert "about these checkpoints" not in power_line(power)


def test_one_run_a_side_shows_nothing(tmp_path):
    runs = [planned(tmp_path, name, protocol="coco-c4-1x", seed=0) for name in ("random", "a")]
    (power,) = powers(runs, [])
    assert power_line(power).startswith(
        "coco-c4-1x: one run a side shows no difference; 4 to 17 a side would see 0.3 AP"
    )
    (power,) = powers([planned(tmp_path, name, protocol="embedded") for name in ("random", "a")], [])
    assert "is not known before some have run" in power_line(power)


def test_the_suites_are_listed(capsys):
    assert run.main(["--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"demo", "epochs", "kernel_ssl_400_vs_800", "paper", "weights"} <= set(listed)
