"""Suites on a cluster: driven against commands that behave as Slurm's, with real jobs as processes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.core.errors import Stopped, UserError
from benchmark.core.files import write_json
from benchmark.runner import slurm
from benchmark.runner.planned import PlannedRun
from benchmark.runner.suite import Resources

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Slurm runs on Linux")
STANDIN = Path(__file__).with_name("slurm_standin.py")
# A run as ours behave: goes on from where it stopped, SIGTERM saves and ends with 75, the folder says how it ended.
RUN = """
import json, pathlib, signal, sys, time
folder, steps, code = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
folder.mkdir(parents=True, exist_ok=True)
at = folder / "step"
step = int(at.read_text()) if at.exists() else 0
def end(code, status):
    at.write_text(str(step))
    (folder / "outcome.json").write_text(json.dumps({"status": status, "exit_code": code, "reason": "no memory"}))
    sys.exit(code)
signal.signal(signal.SIGTERM, lambda *_: end(75, "stopped"))
(folder / "starts").open("a").write(f"{step}\\n")
while step < steps:
    time.sleep(0.05)
    step += 1
    at.write_text(str(step))
end(code, "completed" if code == 0 else "failed")
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder with the commands, on PATH."""
    home = tmp_path / "cluster"
    home.mkdir()
    for name in ("sbatch", "squeue", "sacct", "scancel", "srun", "scontrol"):
        (home / name).write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {STANDIN} {name} "$@"\n')
        (home / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_STANDIN", str(home))
    monkeypatch.setattr(slurm.SlurmJob, "watcher", slurm.SlurmJob.watcher.__class__(delay_s=600))
    yield home
    jobs = json.loads((home / "jobs.json").read_text()) if (home / "jobs.json").exists() else {}
    for number in jobs:
        if (home / f"{number}.step").exists():
            subprocess.run([home / "scancel", "--signal", "KILL", number], capture_output=True)


def planned(name, tmp_path, steps=1, code=0, needs=None, processes=1):
    folder = tmp_path / "runs" / name
    arguments = ("-c", RUN, str(folder), str(steps), str(code))
    return PlannedRun(name, "coco", arguments, folder, Resources(processes=processes, hours=2.0), needs, name, {})


def jobs_of(cluster):
    return json.loads((cluster / "jobs.json").read_text())


def watch(jobs, runs):
    return slurm.watch(jobs, {run.name: run for run in runs}, pause=0.1)


def test_runs_wait_for_what_they_need_and_get_what_they_ask_for(cluster, tmp_path, capsys):
    first = planned("pretrain", tmp_path, steps=4)
    second = planned("tuned", tmp_path, needs="pretrain")
    options = slurm.Cluster("gpu", "lab", "high", 6, 100, ("constraint=a100", "exclusive"))
    jobs = slurm.submit([first, second], tmp_path, options)
    asked = jobs_of(cluster)[jobs["tuned"]]["options"]
    assert asked["dependency"] == f"afterok:{jobs['pretrain']}"
    assert (asked["partition"], asked["account"], asked["qos"]) == ("gpu", "lab", "high")
    assert (asked["time"], asked["gpus-per-node"], asked["cpus-per-task"]) == ("120", "1", "6")
    assert (asked["signal"], asked["kill-on-invalid-dep"], asked["constraint"]) == ("USR2@100", "yes", "a100")
    assert {"requeue", "exclusive"} <= set(asked)
    assert watch(jobs, [first, second]) == {}
    began = [(run.output / "starts").stat().st_mtime for run in (first, second)]
    ended = (first.output / "outcome.json").stat().st_mtime
    assert began[0] < ended <= began[1]
    said = capsys.readouterr().out
    assert "tuned: PENDING (Dependency)" in said
    assert "2 of 2 over" in said


def test_a_failure_is_named_and_what_depends_on_it_is_not_started(cluster, tmp_path):
    runs = [
        planned("bad", tmp_path, code=1),
        planned("child", tmp_path, needs="bad"),
        planned("good", tmp_path),
    ]
    failed = watch(slurm.submit(runs, tmp_path, slurm.Cluster()), runs)
    assert failed == {"bad": "no memory", "child": "bad did not complete"}
    assert not runs[1].output.exists()
    assert (runs[2].output / "outcome.json").exists()


def test_before_its_time_is_over_a_job_saves_is_requeued_and_continues(cluster, tmp_path):
    steps = 120  # six seconds: a busy machine may take some to send the signal
    run = planned("long", tmp_path, steps=steps)
    jobs = slurm.submit([run], tmp_path, slurm.Cluster())
    _wait_until(lambda: slurm.job_states([jobs["long"]]) and (run.output / "step").exists())  # a step was taken
    subprocess.run(["scancel", "--signal", "USR2", jobs["long"]], check=True)  # what --signal=USR2@120 does
    assert watch(jobs, [run]) == {}
    starts = [int(line) for line in (run.output / "starts").read_text().split()]
    assert len(starts) == 2
    assert 0 == starts[0] < starts[1] < steps  # the second start went on from the step that was saved
    assert jobs_of(cluster)[jobs["long"]]["restarts"] == 1


def test_the_same_command_submits_nothing_twice_and_cancel_lets_runs_save(cluster, tmp_path, monkeypatch, capsys):
    runs = [planned("a", tmp_path, steps=1000), planned("b", tmp_path, needs="a", processes=4)]
    jobs = slurm.submit(runs, tmp_path, slurm.Cluster(cpus_per_gpu=2))
    asked = jobs_of(cluster)[jobs["b"]]["options"]
    assert (asked["gpus-per-node"], asked["cpus-per-task"], asked["ntasks-per-node"]) == ("4", "8", "1")
    _wait_until(lambda: slurm.job_states(list(jobs.values())) and (runs[0].output / "starts").exists())
    assert slurm.submit(runs, tmp_path, slurm.Cluster()) == jobs
    assert len(jobs_of(cluster)) == 2

    def interrupt(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(slurm.time, "sleep", interrupt)
        with pytest.raises(Stopped):
            watch(jobs, runs)
    assert f"the jobs stay with Slurm: {', '.join(jobs.values())}" in capsys.readouterr().out
    assert slurm.job_states([jobs["a"]])[jobs["a"]][0] == "RUNNING"

    assert set(slurm.cancel(tmp_path)) == set(jobs.values())
    assert set(watch(jobs, runs)) == {"a", "b"}
    assert int((runs[0].output / "step").read_text()) > 0
    assert slurm.cancel(tmp_path) == []
    again = slurm.submit(runs[:1], tmp_path, slurm.Cluster())
    assert set(again.values()).isdisjoint(jobs.values())  # those jobs are over: a new one continues
    slurm.cancel(tmp_path)


def test_without_accounting_the_folders_say_how_runs_ended(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_STANDIN_NO_ACCOUNTING", "1")
    runs = [planned("good", tmp_path), planned("bad", tmp_path, code=1)]
    assert watch(slurm.submit(runs, tmp_path, slurm.Cluster()), runs) == {"bad": "no memory"}


def test_a_refusal_is_given_in_slurms_words(cluster, tmp_path):
    with pytest.raises(UserError, match=r"Slurm did not take a: .*invalid partition specified: closed"):
        slurm.submit([planned("a", tmp_path)], tmp_path, slurm.Cluster(partition="closed"))


def test_a_machine_without_slurm_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="Slurm"):
        slurm.submit([planned("a", tmp_path)], tmp_path, slurm.Cluster())
    write_json(tmp_path / "slurm" / "jobs.json", {"a": "1"})
    with pytest.raises(UserError, match="has no Slurm"):
        slurm.cancel(tmp_path)


def _wait_until(condition):
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("not within 30 seconds")
