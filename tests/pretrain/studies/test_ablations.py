"""Ablations of Kernel-SSL: every setting is a command that differs from the default in what the plan says."""

import csv
import shutil

import pytest

from benchmark.core.errors import run_command
from benchmark.core.folder import RESULTS
from benchmark.runner.planned import planned_runs as planned
from benchmark.runner.suite import read_suite
from pretrain.studies.ablations import main
from pretrain.training.command_line import resolve
from tests.pretrain.studies.probed_records import probe

STUDIES = RESULTS / "studies"


@pytest.fixture
def folder(tmp_path):
    """Return a folder of ablations beside the study that it is based on, whose search is over."""
    for name in ("ablations", "claim_in_miniature"):
        (tmp_path / name).mkdir()
        shutil.copy(STUDIES / name / "plan.yaml", tmp_path / name)
    rates = "setting,factor,lr,chosen\nkernel_ssl,1.0,0.5,\nkernel_ssl,3.0,1.5,yes\n"
    (tmp_path / "claim_in_miniature" / "learning_rates.csv").write_text(rates)
    return tmp_path / "ablations"


def test_every_setting_differs_from_the_default_in_its_options_alone(folder):
    assert main(["--folder", str(folder)]) == 0
    path = folder / "suite.yaml"
    runs = planned(read_suite(path), path, folder, folder)
    configs = {r.name.rpartition("-seed")[0]: resolve(list(r.arguments[1:])) for r in runs if r.kind == "pretrain"}
    assert len(configs) == len(runs) / 2 == 18
    default = configs["pretrain-default"]
    assert (default.lr, default.epochs, default.options.gamma) == (1.5, 25, 1.0)

    def difference(name):
        loss, usual = vars(configs[f"pretrain-{name}"].options), vars(default.options)
        return {key: value for key, value in loss.items() if value != usual[key]}

    assert difference("alignment_only") == {"uniformity": "none"}
    assert difference("uniformity_only") == {"gamma": 0.0}
    assert difference("K8_mu0.5") == {"taylor_order": 8, "mu": 0.5}
    assert difference("exact") == {"logarithm": "exact"}


def test_what_has_not_run_is_a_hole_in_table_and_figure(folder):
    (folder / "records").mkdir()
    probe("default", 0, 45.0, rank=18.0).write(folder / "records")
    assert main(["--folder", str(folder)]) == 0
    with (folder / "table.csv").open(newline="") as file:
        rows = {(row["group"], row["setting"]): row for row in csv.DictReader(file)}
    assert rows["terms", "default"]["linear_exact"] == rows["kernels", "default"]["linear_exact"] == "45.0"
    assert rows["kernels", "rbf"]["linear_exact"] == ""
    assert "| rbf | kernel rbf | not run |" in (folder / "table.md").read_text()
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_study_without_learning_rates_and_a_name_with_two_meanings_are_refused(folder, capsys):
    (folder.parent / "claim_in_miniature" / "learning_rates.csv").unlink()
    assert run_command(main, ["--folder", str(folder)]) == 2
    assert "run the search of that study first" in capsys.readouterr().err
    plan = folder / "plan.yaml"
    plan.write_text(plan.read_text().replace("gamma2: {gamma: 2.0}", "exact: {gamma: 2.0}"))
    assert run_command(main, ["--folder", str(folder)]) == 2
    assert "'exact' stands for different options" in capsys.readouterr().err
