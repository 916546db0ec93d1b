"""Suites become commands, in order, and mistakes in them are told before anything starts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark import run
from benchmark.core.errors import RunFailed, UserError
from benchmark.core.folder import ROOT
from benchmark.core.options import load_yaml


def test_demo_compares_both_lengths_with_the_untrained_encoder(tmp_path):
    path = run.suite_path("demo")
    steps = run.plan(load_yaml(path), path, tmp_path, tmp_path / "records")
    lengths = [int(s.arguments[s.arguments.index("--epochs") + 1]) for s in steps if s.name.startswith("pretrain")]
    assert lengths[1] == 2 * lengths[0]
    weights = {s.arguments[s.arguments.index("--weights") + 1] for s in steps if s.name.startswith("coco")}
    assert weights == {"random", *(str(tmp_path / f"pretrain-{n}" / "checkpoint.pth") for n in ("short", "long"))}
    seeds = {s.arguments[s.arguments.index("--seed") + 1] for s in steps if s.name.startswith("coco")}
    assert len(seeds) >= 2  # without repeats there is no interval


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pretrain: {}\n", "has no runs"),
        ("pretrian: {a: {}}\n", "unknown key 'pretrian'; did you mean 'pretrain'"),
        ("pretrain: {short: {epochs: 1}}\ntransfer: [{weights: [shrot]}]\n", "did you mean 'short'"),
        ("transfer: [{script: cooc}]\n", "did you mean 'coco'"),
        ("transfer: [{weights: [random, random]}]\n", "names one run twice"),
        ("- a\n", "should hold the keys"),
        ("pretrain: [a]\n", "'pretrain' should be a dict"),
        ("pretrain: {a: 400}\n", "should hold options"),
        ("transfer: [{script: coco, seeds: 3}]\n", "'seeds' should be a list"),
        ("transfer: [{script: coco, weights: random}]\n", "'weights' should be a list"),
    ],
)
def test_mistakes_in_a_suite(tmp_path, text, said):
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        run.main(["--suite", str(path), "--plan"])


def test_unknown_suite_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'demo'"):
        run.main(["--suite", "demoo"])


def test_flags():
    words = run.flags({"image_size": 48, "resume": False, "dry_run": True, "keep_epochs": [1, 2]})
    assert words == ["--image-size", "48", "--no-resume", "--dry-run", "--keep-epochs", "1,2"]


def test_steps_that_need_a_failed_one_are_passed_over(tmp_path, capfd):
    made = tmp_path / "made"
    steps = [
        run.Step("bad", ("-c", "raise SystemExit(1)"), tmp_path),
        run.Step("child", ("-c", f"open({str(made)!r}, 'w')"), tmp_path, needs="bad"),
        run.Step("good", ("-c", "print('ran')"), tmp_path),
    ]
    assert run.run_steps(steps) == ["bad", "child"]
    assert not made.exists()
    assert "ran" in capfd.readouterr().out


def test_a_failed_run_fails_the_suite(tmp_path, monkeypatch):
    suite = tmp_path / "suite.yaml"
    suite.write_text("pretrain: {a: {}}\n")
    failing = run.Step("pretrain-a", ("-c", "raise SystemExit(1)"), Path(tmp_path))
    monkeypatch.setattr(run, "plan", lambda *_: [failing])
    with pytest.raises(RunFailed, match="1 of 1 runs did not complete: pretrain-a"):
        run.main(["--suite", str(suite), "--no-report", "--output", str(tmp_path)])


def test_smoke_is_the_demo_with_fewer_runs(tmp_path):
    path = run.suite_path("smoke")
    steps = run.plan(load_yaml(path), path, tmp_path, tmp_path / "records")
    demo = run.plan(load_yaml(run.suite_path("demo")), run.suite_path("demo"), tmp_path, tmp_path / "records")
    assert {s.arguments[0] for s in steps} == {s.arguments[0] for s in demo}
    assert len(steps) < len(demo)


def test_a_failed_report_fails_the_suite(tmp_path, monkeypatch):
    suite = tmp_path / "suite.yaml"
    suite.write_text("pretrain: {a: {}}\n")
    monkeypatch.setattr(run, "plan", lambda *_: [run.Step("a", ("-c", "pass"), tmp_path)])
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "torn.json").write_text('{"id": "to')
    with pytest.raises(RunFailed, match="report"):
        run.main(["--suite", str(suite), "--output", str(tmp_path / "o"), "--records", str(tmp_path / "records")])


def test_ctrl_c_in_a_run_starts_no_further_one(tmp_path):
    made = tmp_path / "made"
    for ending in ("raise SystemExit(130)", "import os, signal; os.kill(os.getpid(), signal.SIGINT)"):
        steps = [
            run.Step("interrupted", ("-c", ending), tmp_path),
            run.Step("next", ("-c", f"open({str(made)!r}, 'w')"), tmp_path),
        ]
        with pytest.raises(KeyboardInterrupt):
            run.run_steps(steps)
        assert not made.exists()


RUNNER = """
import sys
from pathlib import Path
from benchmark import run
from benchmark.core.errors import run_command
def main(argv):
    child = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    with run.termination_as_interrupt():
        run.run_steps([run.Step("a", ("-c", child, argv[0]), Path("."))])
    return 0
sys.exit(run_command(main, sys.argv[1:]))
"""


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130), (signal.SIGINT, 130)])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other kernels do not end children with their parent")
def test_a_run_ends_with_its_suite(tmp_path, ending, code):
    """An orphan would hold the lock of its folder, and the suite started again would fail at that run."""
    mark = tmp_path / "pid"
    suite = subprocess.Popen([sys.executable, "-c", RUNNER, str(mark)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        _wait_until(lambda: mark.exists() and mark.read_text())
        suite.send_signal(ending)
        assert suite.wait(30) == code
        child = int(mark.read_text())
        _wait_until(lambda: not _runs(child))
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


def test_a_suite_started_again_goes_through_the_same_commands(tmp_path):
    """Every run continues by itself, so the second start must name the same folders and options as the first."""
    path = run.suite_path("demo")
    first, second = (run.plan(load_yaml(path), path, tmp_path, tmp_path / "records") for _ in range(2))
    assert first == second
    assert len({step.output for step in first}) == len(first)


def test_time_left_follows_the_finished_runs_of_the_same_script():
    def step(script, *words):
        return run.Step("s", (script, *words), Path())

    short, long = step("pretrain.py", "--epochs", "100"), step("pretrain.py", "--epochs", "200")
    assert run.time_left([long], [(short, 300.0)]) == ", about 10 min left"
    assert run.time_left([long, long], [(short, 300.0), (long, 900.0)]) == ", about 27 min left"
    assert run.time_left([step("coco.py")], [(step("coco.py"), 20.0)]) == ", less than a minute left"
    assert run.time_left([long, step("coco.py")], [(short, 300.0)]) == ""
