"""Suites on this machine, with real processes: failures, signals, kills, two runners, several runs at a time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark import run
from benchmark.core.errors import RunFailed, Stopped, UserError
from benchmark.core.files import write_json
from benchmark.core.folder import ROOT
from benchmark.core.lock import lock_folder
from benchmark.core.provenance import usable_cores
from benchmark.runner import local, start
from benchmark.runner.display import Display, last_line
from benchmark.runner.machine import accelerators, command, environment, shares
from benchmark.runner.planned import PlannedRun
from benchmark.runner.suite import Resources


def planned(name, tmp_path, code="pass", needs=None, kind="coco", **options):
    return PlannedRun(name, kind, ("-c", code), tmp_path / name, Resources(), needs, name, options)


def run_all(runs, tmp_path, places=1):
    said = []
    ended = local.run_all(runs, [()] * places, tmp_path, Display(runs, {}, places, said.append))
    return ended, "\n".join(said)


def test_a_failure_stops_neither_the_others_nor_goes_unexplained(tmp_path, capfd):
    made = tmp_path / "made"
    runs = [
        planned("bad", tmp_path, "raise SystemExit(1)"),
        planned("child", tmp_path, f"open({str(made)!r}, 'w')", needs="bad"),
        planned("grandchild", tmp_path, f"open({str(made)!r}, 'w')", needs="child"),
        planned("good", tmp_path, "print('ran')"),
    ]
    write_json_in(tmp_path / "bad", {"exit_code": 1, "reason": "the disk is full"})
    ended, said = run_all(runs, tmp_path)
    assert ended.done == ["good"]
    assert ended.failed == {"bad": "the disk is full"}
    assert ended.not_started == {"child": "bad did not complete", "grandchild": "child did not complete"}
    assert not made.exists()
    assert "ran" in capfd.readouterr().out
    assert "not started: child: bad did not complete" in said
    assert "[4/4" in said


def write_json_in(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "outcome.json", content)


def test_what_diverged_before_is_not_tried_again_and_its_dependants_say_so(tmp_path):
    runs = [planned("child", tmp_path, needs="lost"), planned("other", tmp_path)]
    before = local.Ended(failed={"lost": "the loss is not finite"})
    ended = local.run_all(runs, [()], tmp_path, Display(runs, {}, 1, lambda _: None), before)
    assert (ended.done, ended.not_started) == (["other"], {"child": "lost did not complete"})


def test_what_was_done_before_is_no_reason_to_wait(tmp_path):
    ended, _ = run_all([planned("child", tmp_path, needs="done before")], tmp_path)
    assert ended.done == ["child"]


def test_several_at_a_time_write_logs_and_meet(tmp_path):
    """Each of two runs waits for the other: one after the other they would never end."""
    wait = (
        "import pathlib, sys, time; print('first line'); pathlib.Path({0!r}).touch()\n"
        "while not pathlib.Path({1!r}).exists(): time.sleep(0.02)\n"
        "print('met')"
    )
    a, b = str(tmp_path / "a.here"), str(tmp_path / "b.here")
    runs = [planned("a", tmp_path, wait.format(a, b)), planned("b", tmp_path, wait.format(b, a))]
    ended, said = run_all(runs, tmp_path, places=2)
    assert sorted(ended.done) == ["a", "b"]
    log = tmp_path / "logs" / "a.log"
    assert log.read_text().splitlines() == ["first line", "met"]
    assert last_line(log) == "met"
    assert "done: a" in said


@pytest.mark.parametrize("ending", ["raise SystemExit(130)", "import os, signal; os.kill(os.getpid(), signal.SIGINT)"])
def test_ctrl_c_in_a_run_starts_no_further_one(tmp_path, ending):
    made = tmp_path / "made"
    runs = [planned("interrupted", tmp_path, ending), planned("next", tmp_path, f"open({str(made)!r}, 'w')")]
    with pytest.raises(Stopped) as stopped:
        run_all(runs, tmp_path)
    assert stopped.value.signal_number == signal.SIGINT
    assert not made.exists()


def test_a_run_under_torchrun_that_was_asked_to_stop_has_not_failed(tmp_path):
    """torchrun makes 1 of every exit code; the run's folder says 75."""
    write_json_in(tmp_path / "a", {"status": "stopped", "exit_code": 75})
    with pytest.raises(Stopped):
        run_all([planned("a", tmp_path, "raise SystemExit(1)")], tmp_path)


RUNNER = """
import sys
from pathlib import Path
from benchmark.core.errors import run_command
from benchmark.runner.display import Display
from benchmark.runner.local import run_all
from benchmark.runner.planned import PlannedRun
from benchmark.runner.suite import Resources
CHILD = '''
import os, signal, sys, time
def end(*_):
    open({0!r} + ".saved", "w").write("x")
    sys.exit(75)
signal.signal(signal.SIGTERM, end)
open({0!r}, "w").write(str(os.getpid()))
time.sleep(60)
'''
def main(argv):
    runs = [PlannedRun(str(n), "coco", ("-c", CHILD.format(path)), Path(path + ".run"), Resources(), None, "", {})
            for n, path in enumerate(argv)]
    run_all(runs, [()] * len(runs), Path(argv[0]).parent, Display(runs, {}, len(runs)))
    return 0
sys.exit(run_command(main, sys.argv[1:]))
"""


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75), (signal.SIGINT, 130)])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other kernels do not end children with their parent")
def test_runs_are_told_at_once_and_end_with_their_suite(tmp_path, ending, code):
    """An orphan would hold the lock of its folder, and the suite started again would fail at that run."""
    marks = [tmp_path / "a", tmp_path / "b"]
    suite = subprocess.Popen([sys.executable, "-c", RUNNER, *map(str, marks)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        _wait_until(lambda: all(mark.exists() and mark.read_text() for mark in marks))
        suite.send_signal(ending)
        assert suite.wait(30) == code
        children = [int(mark.read_text()) for mark in marks]
        _wait_until(lambda: not any(map(_runs, children)))
        _wait_until(lambda: all(Path(f"{mark}.saved").exists() for mark in marks))  # they saved, all of them
    finally:
        suite.kill()
        suite.wait()


def _runs(pid: int) -> bool:
    """Say whether a process is there and no zombie that its new parent has yet to bury."""
    try:
        os.kill(pid, 0)
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def _wait_until(condition) -> None:
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("not within 30 seconds")


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A suite file whose runs are replaced, and the words that start it."""
    path = tmp_path / "suite.yaml"
    path.write_text("transfer: [{weights: [random]}]\n")

    def words(runs):
        monkeypatch.setattr(start, "planned_runs", lambda *_: runs)
        return ["--suite", str(path), "--output", str(tmp_path / "o"), "--records", str(tmp_path / "records")]

    return words


def test_a_failed_run_fails_the_suite(tmp_path, suite):
    words = suite([planned("a", tmp_path, "raise SystemExit(1)")])
    with pytest.raises(RunFailed, match=r"1 of 1 runs did not complete: a \(exit code 1\); the same command"):
        run.main([*words, "--no-report"])


def test_a_failed_report_fails_the_suite(tmp_path, suite):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "torn.json").write_text('{"id": "to')
    with pytest.raises(RunFailed, match="report"):
        run.main(suite([planned("a", tmp_path)]))


def test_a_second_runner_is_refused_at_once(tmp_path, suite):
    (tmp_path / "o").mkdir()
    lock = lock_folder(tmp_path / "o")
    try:
        with pytest.raises(UserError, match=r"another process is working in .*o: process"):
            run.main([*suite([planned("a", tmp_path, "raise SystemExit(1)")]), "--no-report"])
    finally:
        lock.release()


def test_time_left_follows_the_finished_runs_of_the_same_kind(tmp_path):
    def pretraining(name, epochs):
        return planned(name, tmp_path, kind="pretrain", epochs=epochs)

    short, long, longer = pretraining("s", 100), pretraining("m", 200), pretraining("l", 400)
    display = Display([short, long, longer], {}, 1, lambda _: None)
    assert display.time_left() == ""
    display.ended(short, 300.0, False)
    assert display.time_left() == ", about 30 min left"
    display.ended(long, 900.0, False)
    assert display.time_left() == ", about 27 min left"
    two = Display([short, long, longer], {}, 2, lambda _: None)
    two.ended(short, 300.0, False)
    assert two.time_left() == ", about 15 min left"
    tuned = [planned(name, tmp_path) for name in "ab"]
    by_hours = Display(tuned, {"a": 57.0, "b": 114.0}, 1, lambda _: None)
    by_hours.ended(tuned[0], 600.0, False)
    assert by_hours.time_left() == ", about 20 min left"
    some = Display([short, long, longer], {"s": 0.1, "m": 0.2}, 1, lambda _: None)  # of one run nobody knows: epochs
    some.ended(short, 300.0, False)
    assert some.time_left() == ", about 30 min left"
    resumed = Display(tuned, {}, 1, lambda _: None)
    resumed.ended(tuned[0], 1.0, True)
    assert resumed.time_left() == ""


def test_runs_side_by_side_share_the_cores_where_there_are_no_gpus(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    say = "import os; print(os.environ.get('OMP_NUM_THREADS'))"
    run_all([planned(name, tmp_path, say) for name in "ab"], tmp_path, places=2)
    assert (tmp_path / "logs" / "a.log").read_text().split() == [str(max(usable_cores() // 2, 1))]
    assert "OMP_NUM_THREADS" not in environment([], jobs=1)
    assert "OMP_NUM_THREADS" not in environment(["0"], jobs=2)
    assert environment([], jobs=10_000)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert environment([], jobs=2)["OMP_NUM_THREADS"] == "7"


def test_gpus_are_shared_between_places(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")
    assert accelerators() == ["0", "1", "2", "3", "4"]
    assert shares(accelerators(), 2) == [("0", "2", "4"), ("1", "3")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert accelerators() == []
    assert shares([], 3) == [(), (), ()]
    assert shares(["0", "1"], 5) == [("0",), ("1",), ("0",), ("1",), ("0",)]
    eight = PlannedRun("a", "coco", ("x.py", "--a"), Path(), Resources(processes=8), None, "a", {})
    assert command(eight, []) == [sys.executable, "x.py", "--a"]
    assert "--nproc-per-node=3" in command(eight, ["0", "2", "4"])
