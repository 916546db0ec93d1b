"""The miniature study: its suites follow from the plan, its choices and verdicts from the records."""

import csv
import shutil

import pytest
import yaml
from scipy import stats

from benchmark.core.errors import run_command
from benchmark.core.folder import RESULTS
from benchmark.runner.planned import planned_runs as planned
from benchmark.runner.suite import read_suite
from pretrain.studies.miniature import main
from pretrain.studies.miniature_figure import draw, label
from pretrain.studies.miniature_plan import candidates, read_plan, runs_suite, setting_name, suite_text
from pretrain.studies.miniature_tables import answers, rows
from pretrain.studies.probed import probes
from pretrain.training.command_line import resolve
from tests.pretrain.studies.probed_records import diverged, probe

STUDY = RESULTS / "studies" / "claim_in_miniature"
PLAN = read_plan(STUDY / "plan.yaml")
UNDECIDED = {"p after Holm": None, "verdict": "not decided"}


def study(tmp_path, records):
    """Return a folder with the plan and records, after the command."""
    shutil.copy(STUDY / "plan.yaml", tmp_path)
    (tmp_path / "records").mkdir()
    for record in records:
        record.write(tmp_path / "records")
    assert main(["--folder", str(tmp_path)]) == 0
    return tmp_path


def searched(best=1.0):
    """Return the records of a whole search in which the factor `best` wins."""
    return [probe(c.name, PLAN.learning_rates.seed, 40.0 + (c.factor == best)) for c in candidates(PLAN)]


def test_every_command_of_the_study_is_one_that_pretraining_takes(tmp_path):
    path = tmp_path / "runs.yaml"
    path.write_text(suite_text(runs_suite(PLAN, dict.fromkeys(PLAN.methods, 3.0)), "miniature"))
    runs = planned(read_suite(path), path, tmp_path, tmp_path)
    for run in runs:
        if run.kind == "pretrain":
            config = resolve(list(run.arguments[1:]))
            assert (config.arch, config.image_size, config.batch_size) == ("resnet18", 32, 128)
    byol = next(run for run in runs if run.name.startswith("pretrain-byol-50-seed2"))
    config = resolve(list(byol.arguments[1:]))
    assert (config.epochs, config.warmup_epochs, config.optimizer) == (50, 5.0, "lars")
    assert config.lr == pytest.approx(3 * PLAN.methods["byol"]["lr"])


def test_runs_go_seed_by_seed_and_what_the_comparisons_need_comes_first(tmp_path):
    path = tmp_path / "runs.yaml"
    path.write_text(suite_text(runs_suite(PLAN, dict.fromkeys(PLAN.methods, 1.0)), "miniature"))
    names = [run.name for run in planned(read_suite(path), path, tmp_path, tmp_path) if run.kind == "pretrain"]
    assert [int(name.rpartition("-seed")[2][0]) for name in names] == sorted([*PLAN.seeds] * (len(names) // 3))
    needed = [setting_name(name, PLAN.epochs[0]) for name in PLAN.comparisons.of]
    needed += [setting_name(name, PLAN.epochs[1]) for name in PLAN.comparisons.against]
    assert [name.rpartition("-seed")[0].removeprefix("pretrain-") for name in names[: len(needed)]] == needed


def test_the_best_candidate_on_the_hold_out_is_taken_and_of_equals_the_recipes_own(tmp_path):
    records = [record for record in searched(best=3.0) if "simclr" not in record.method]
    records += [probe(f"simclr-x{factor:g}", 100, 40.0) for factor in PLAN.learning_rates.factors]
    folder = study(tmp_path, records)
    runs = yaml.safe_load((folder / "runs.yaml").read_text())["pretrain"]
    assert runs["mec-25"]["lr"] == pytest.approx(3 * PLAN.methods["mec"]["lr"])
    assert runs["barlow_twins-50"]["lr_biases"] == pytest.approx(
        3 * PLAN.methods["barlow_twins"]["lr_biases"], rel=1e-2
    )
    assert runs["simclr-25"]["lr"] == PLAN.methods["simclr"]["lr"]
    assert runs["supervised-50"]["lr"] == PLAN.controls["supervised"]["lr"]


def test_nothing_is_decided_before_all_candidates_have_run_and_a_diverged_one_is_the_worst(tmp_path):
    records = searched()
    for name in ("open", "over"):
        (tmp_path / name).mkdir()
    assert not (study(tmp_path / "open", records[1:]) / "runs.yaml").exists()
    folder = study(tmp_path / "over", [*records[1:], diverged(candidates(PLAN)[0].name, 100)])
    with (folder / "learning_rates.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["setting"], float(first["top1 on the hold-out"]), first["chosen"]) == ("kernel_ssl", 0.0, "")


def accuracies(**means):
    """Return probes of three seeds about the means, alike in spread."""
    spread = (-0.5, 0.1, 0.4)
    return probes(probe(name, seed, mean + spread[seed]) for name, mean in means.items() for seed in range(3))


def verdicts(found, metric="linear_exact"):
    table = answers(PLAN, found).numbers
    return {(row["setting"], row["against"]): row for row in table if row["metric"] == metric}


def test_verdicts_are_better_worse_equivalent_and_not_decided():
    found = accuracies(**{"kernel_ssl-25": 45.0, "mec-50": 40.0, "simclr-50": 50.0, "byol-50": 45.2, "swav-50": 46.6})
    table = verdicts(found)
    got = {other: table["kernel_ssl", other]["verdict"] for other in ("mec", "simclr", "byol", "swav", "vicreg")}
    assert got["mec"] == "better"
    assert got["simclr"] == "worse"
    assert got["byol"] == "equivalent"
    assert got["vicreg"] == "not decided"
    assert table["kernel_ssl", "vicreg"]["difference"] is None
    assert table["kernel_ssl", "mec"]["difference"] == pytest.approx(5.0)


def test_one_seed_decides_nothing():
    found = [one for one in accuracies(**{"kernel_ssl-25": 45.0, "mec-50": 20.0}) if one.seed == 0]
    row = verdicts(found)["kernel_ssl", "mec"]
    assert row["difference"] == pytest.approx(25.0)
    assert {key: row[key] for key in UNDECIDED} == UNDECIDED


def test_the_table_has_the_mean_and_students_interval_and_says_what_has_not_run():
    table = rows(PLAN, accuracies(**{"kernel_ssl-25": 45.0}), {"kernel_ssl": 0.5})
    by_name = {(row["setting"], row["epochs"]): row for row in table.numbers}
    row = by_name["kernel_ssl", 25]
    values = [44.5, 45.1, 45.4]
    low, high = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    assert row["linear_exact"] == pytest.approx(45.0)
    assert row["linear_exact half width"] == pytest.approx((high - low) / 2)
    said = next(row for row in table.words if (row["setting"], row["epochs"]) == ("byol", 50))
    assert (said["seeds"], said["linear_exact"]) == ("0 of 3", "not run")


def test_how_well_an_accuracy_is_known_comes_from_the_test_images_and_not_from_the_hold_out_of_the_search():
    search = list(probes(searched()))
    assert "bootstrap" not in rows(PLAN, search, {}).note
    assert "about ± 3.0 (bootstrap" in rows(PLAN, [*search, *accuracies(**{"mec-50": 45.0})], {}).note


def test_settings_are_named_as_people_write_them_and_what_has_not_run_is_written_into_the_figure():
    assert [label(PLAN, name) for name in ("kernel_ssl_gamma_0.1", "moco_v2", "supervised")] == [
        "Kernel-SSL, gamma 0.1",
        "MoCo v2",
        "supervised",
    ]
    figure = draw(PLAN, accuracies(**{"mec-25": 40.0, "simclr-25": 41.0, "simclr-50": 42.0}))
    panel = figure.axes[0]
    holes = {round(text.get_position()[1]): text.get_text() for text in panel.texts}
    names = [*PLAN.methods, "supervised"]
    assert holes[names.index("mec")] == "50 epochs not run"
    assert names.index("simclr") not in holes
    assert [holes[place] for place in range(len(names)) if place not in (2, 3)] == ["not run"] * (len(names) - 2)
    low, high = panel.get_ylim()
    assert (low, high) == (len(names) - 0.5, -0.5)  # every line is inside


def test_a_whole_study_is_drawn_and_tabulated(tmp_path):
    named = [setting_name(name, epochs) for name in [*PLAN.methods, "supervised"] for epochs in PLAN.epochs]
    records = [probe(name, seed, 40.0 + seed) for name in [*named, "random"] for seed in PLAN.seeds]
    folder = study(tmp_path, [*searched(), *records])
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "not run" not in (folder / "table.md").read_text()


def test_a_plan_with_an_unknown_key_is_refused_in_one_sentence(tmp_path, capsys):
    (tmp_path / "plan.yaml").write_text((STUDY / "plan.yaml").read_text() + "seedz: [1]\n")
    assert run_command(main, ["--folder", str(tmp_path)]) == 2
    assert "seedz" in capsys.readouterr().err
