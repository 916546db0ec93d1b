"""Suites become commands, in order, and mistakes in them are told before anything starts."""

from pathlib import Path

import pytest

from benchmark import run
from benchmark.errors import RunFailed, UserError
from benchmark.options import load_yaml


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
