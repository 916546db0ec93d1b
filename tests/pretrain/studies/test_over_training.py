"""Ranks and accuracies over training: correlations inside a run, and the suite of the kept checkpoints."""

import csv
import shutil

import pytest
from scipy import stats

from benchmark.core.errors import run_command
from benchmark.core.folder import RESULTS
from benchmark.runner.suite import read_suite
from pretrain.studies.over_training import main
from tests.pretrain.studies.probed_records import probe

PLAN = RESULTS / "studies" / "claim_in_miniature" / "plan.yaml"
RANKS, ACCURACIES = (3.0, 5.0, 9.0, 8.0, 12.0), (30.0, 33.0, 39.0, 41.0, 44.0)


@pytest.fixture
def folder(tmp_path):
    shutil.copy(PLAN, tmp_path)
    (tmp_path / "records").mkdir()
    return tmp_path


def words(folder):
    return ["--folder", str(folder), "--runs", str(folder / "runs")]


def test_correlations_are_spearmans_inside_a_run_and_holes_are_said(folder):
    for epoch, rank, accuracy in zip((1, 5, 10, 20, None), RANKS, ACCURACIES, strict=True):
        probe("byol-50", 0, accuracy, rank, knn=100 - accuracy, epoch=epoch).write(folder / "records")
    probe("vicreg-50", 0, 50.0).write(folder / "records")  # the plan does not follow it
    assert main(words(folder)) == 0
    expected = stats.spearmanr(RANKS, ACCURACIES).statistic
    lines = {line.split(" | ")[0].strip("| "): line for line in (folder / "over_training.md").read_text().splitlines()}
    assert f"| {expected:+.2f} | {-expected:+.2f} |" in lines["byol"]
    assert "not run" in lines["simclr"]
    with (folder / "over_training.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["epoch"]) for row in rows] == [("byol", e) for e in ("1", "5", "10", "20", "50")]


def test_the_suite_probes_the_kept_checkpoints_of_the_methods_that_the_plan_follows(folder, monkeypatch):
    for run, name in (("pretrain-byol-50-seed1-0123abcd", "checkpoint_0005.pth"),
                      ("pretrain-byol-50-seed1-0123abcd", "checkpoint.pth"),
                      ("pretrain-byol-25-seed1-0123abcd", "checkpoint_0005.pth"),
                      ("pretrain-vicreg-50-seed1-0123abcd", "checkpoint_0005.pth")):  # fmt: skip
        (folder / "runs" / run).mkdir(parents=True, exist_ok=True)
        (folder / "runs" / run / name).touch()
    assert main(words(folder)) == 0
    suite = read_suite(folder / "over_training.yaml")
    assert suite.transfer[0].weights == [
        str(folder / "runs" / "pretrain-byol-50-seed1-0123abcd" / "checkpoint_0005.pth")
    ]
    monkeypatch.chdir(folder)  # records then name no folder of this machine
    assert main(words(folder)) == 0
    suite = read_suite(folder / "over_training.yaml")
    assert suite.transfer[0].weights == ["runs/pretrain-byol-50-seed1-0123abcd/checkpoint_0005.pth"]


def test_without_checkpoints_and_records_the_command_says_what_to_run(folder, capsys):
    assert run_command(main, words(folder)) == 2
    assert "run the suite of the study first" in capsys.readouterr().err
