"""Suites become commands, in order, and mistakes in them are told before anything starts."""

import dataclasses
import json
import shlex

import pytest

from benchmark import run
from benchmark.catalogue.entries import read_zoo
from benchmark.catalogue.lookup import series
from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from benchmark.core.options import parse
from benchmark.runner.planned import flags, planned_runs
from benchmark.runner.step_time import H200_FP32, IMAGENET, KERNEL_SSL, LINKS, step_time
from benchmark.runner.suite import SUITES, missing, read_suite, suite_path
from pretrain.training.command_line import resolve
from transfer.detection.config import DetectionConfig
from transfer.probing.config import ClassifyConfig

GIVEN = {name: f"/{name}" for name in ("imagenet", "coco", "voc", "images")} | {"weights": ("random",)}
NAMES = sorted(path.stem for path in SUITES.glob("*.yaml"))


def planned(name, tmp_path, **given):
    path = suite_path(name)
    return planned_runs(read_suite(path, GIVEN | given), path, tmp_path, tmp_path / "records")


def word_after(run, flag):
    return run.arguments[run.arguments.index(flag) + 1]


def test_the_suites_that_the_readme_names_are_there():
    assert {"kernel_ssl_400_vs_800", "paper", "epochs", "lowdata", "voc", "weights", "demo", "smoke"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_of_a_suite_is_one_that_its_script_takes(name, tmp_path):
    given = {"weights": ("detectron2-random",)}
    for one in planned(name, tmp_path, **given):
        words = list(one.arguments[1:])
        if one.kind == "pretrain":
            assert resolve(words).output == str(one.output)
        else:
            config = parse(ClassifyConfig if one.kind == "classify" else DetectionConfig, words, "", "")
            assert config.output == str(one.output)
        assert one.needs is None or one.needs in {other.name for other in planned(name, tmp_path, **given)}


def test_demo_compares_both_lengths_with_the_untrained_encoder(tmp_path):
    runs = planned("demo", tmp_path)
    lengths = [int(word_after(r, "--epochs")) for r in runs if r.kind == "pretrain"]
    assert lengths[1] == 2 * lengths[0]
    checkpoints = {str(r.output / "checkpoint.pth") for r in runs if r.kind == "pretrain"}
    assert {word_after(r, "--weights") for r in runs if r.kind == "coco"} == {"random", *checkpoints}
    assert len({word_after(r, "--seed") for r in runs if r.kind == "coco"}) >= 2  # without repeats no interval


def test_smoke_is_the_demo_with_fewer_runs(tmp_path):
    smoke, demo = planned("smoke", tmp_path), planned("demo", tmp_path)
    assert {r.arguments[0] for r in smoke} == {r.arguments[0] for r in demo}
    assert len(smoke) < len(demo)


def test_the_comparison_of_the_readme_is_whole(tmp_path):
    runs = planned("kernel_ssl_400_vs_800", tmp_path)
    assert [(r.kind, word_after(r, "--epochs")) for r in runs[:2]] == [("pretrain", "400"), ("pretrain", "800")]
    tuned = [(word_after(r, "--protocol"), r.needs, word_after(r, "--seed")) for r in runs[2:]]
    assert len(set(tuned)) == len(tuned) == 2 * 3 * 3
    assert all(r.resources.processes == 8 for r in runs)
    assert word_after(runs[0], "--config") == str(ROOT / "pretrain" / "recipes" / "kernel_ssl_imagenet.yaml")


def test_the_epochs_suite_compares_two_lengths_of_one_recipe_each(tmp_path):
    """Every pair must be one series of the zoo, so that nothing but the length differs."""
    weights = {word_after(r, "--weights") for r in planned("epochs", tmp_path)} - {"random"}
    names = {word.removeprefix("zoo:") for word in weights}
    assert not any(r.kind == "pretrain" for r in planned("epochs", tmp_path))
    for name in names:
        of_one_recipe = next(found for found in series(read_zoo()) if name in {entry.name for entry in found})
        assert len(names & {entry.name for entry in of_one_recipe}) == 2
        assert all(entry.access == "direct" for entry in of_one_recipe if entry.name in names)


def test_equal_content_gives_equal_folders_and_other_options_other_ones(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text("transfer: [{weights: [random], options: {protocol: embedded, workers: 1}}]\n")
    (first,) = planned_runs(read_suite(path), path, tmp_path, tmp_path)
    path.write_text("transfer: [{weights: [random], options: {protocol: embedded, workers: 3, device: cpu}}]\n")
    (second,) = planned_runs(read_suite(path), path, tmp_path, tmp_path)
    path.write_text("transfer: [{weights: [random], options: {protocol: embedded, lr: 0.01}}]\n")
    (third,) = planned_runs(read_suite(path), path, tmp_path, tmp_path)
    assert first.output == second.output != third.output
    assert first.group == third.group


def test_seeds_of_pretraining_multiply_those_of_fine_tuning(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text("pretrain: {a: {epochs: 1, seeds: [0, 7]}}\ntransfer: [{weights: [random, a], seeds: [0, 1]}]\n")
    runs = planned_runs(read_suite(path), path, tmp_path, tmp_path)
    assert [r.name[:-9] for r in runs] == [
        "pretrain-a-seed0",
        *("coco-random-seed0", "coco-a-pre0-seed0", "coco-random-seed1", "coco-a-pre0-seed1"),
        "pretrain-a-seed7",
        *("coco-a-pre7-seed0", "coco-a-pre7-seed1"),
    ]
    assert word_after(runs[5], "--seed") == "7"
    assert word_after(runs[6], "--weights") == str(runs[5].output / "checkpoint.pth")
    assert runs[6].needs == runs[5].name
    assert {r.group for r in runs if r.kind == "coco"} == {"coco-random", "coco-a"}


def test_a_probe_comes_directly_after_its_pretraining_so_that_every_prefix_is_a_smaller_study(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(
        "pretrain: {a: {epochs: 1, seeds: [0, 7]}, b: {epochs: 2, seeds: [0, 7]}}\n"
        "transfer: [{script: coco, weights: [b, a]}, {script: classify, weights: [random, a, b]}]\n"
    )
    assert [r.name[:-9] for r in planned_runs(read_suite(path), path, tmp_path, tmp_path)] == [
        "classify-random-seed0",
        *("pretrain-a-seed0", "classify-a-pre0-seed0", "pretrain-b-seed0", "classify-b-pre0-seed0"),
        *("coco-a-pre0-seed0", "coco-b-pre0-seed0"),
        *("pretrain-a-seed7", "classify-a-pre7-seed0", "pretrain-b-seed7", "classify-b-pre7-seed0"),
        *("coco-a-pre7-seed0", "coco-b-pre7-seed0"),
    ]


def test_what_the_command_gives_takes_the_place_of_names(tmp_path):
    path = suite_path("weights")
    assert missing(read_suite(path)) == ["coco", "weights"]
    suite = read_suite(path, {"coco": "/data/coco", "weights": ("zoo:moco_v2_200ep", "detectron2-random")})
    assert missing(suite) == []
    runs = planned_runs(suite, path, tmp_path, tmp_path)
    assert {word_after(r, "--weights") for r in runs} == {"random", "zoo:moco_v2_200ep", "detectron2-random"}
    assert {word_after(r, "--data") for r in runs} == {"/data/coco"}
    with pytest.raises(UserError, match="needs --coco, --weights"):
        run.main(["--suite", "weights", "--output", str(tmp_path / "o"), "--records", str(tmp_path / "r")])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pretrain: {}\n", "has no runs"),
        ("pretrian: {a: {}}\n", "unknown key 'pretrian'; did you mean 'pretrain'"),
        ("pretrain: {short: {epochs: 1}}\ntransfer: [{weights: [shrot]}]\n", "did you mean 'short'"),
        ("transfer: [{script: cooc}]\n", "did you mean 'coco'"),
        ("transfer: [{weigths: [random]}]\n", "unknown key 'weigths'; did you mean 'weights'"),
        ("transfer: [{weights: [random, random]}]\n", "names one run twice"),
        ("transfer: [{weights: ['zoo:moco_v2_300ep']}]\n", "the zoo has no 'moco_v2_300ep'; near names are"),
        ("- a\n", "should hold the keys"),
        ("pretrain: [a]\n", r"pretrain is \['a'\], but it should be a mapping"),
        ("pretrain: {a: 400}\n", r"pretrain.a is 400, but it should be a mapping such as"),
        ("pretrain: {../a: {epochs: 1}}\n", "should be a plain name|pretrain"),
        ("pretrain: {a: {epochs: 1, seeds: 3}}\n", "the seeds of 'a' should be a list"),
        ("transfer: [{script: coco, seeds: 3}]\n", "transfer.0.seeds is 3, but it should be a list"),
        ("transfer: [{script: coco, seeds: [18446744073709551616]}]\n", "transfer.0.seeds.0 is 18446744073709551616"),
        ("transfer: [{script: coco, weights: random}]\n", "weights is 'random', but it should be a list"),
        ("transfer: [{}]\nresources: {coco: {processes: 0}}\n", "resources.coco.processes is 0"),
        ("transfer: [{}]\nresources: {cooc: {processes: 1}}\n", "did you mean 'coco'"),
    ],
)
def test_mistakes_in_a_suite(tmp_path, text, said):
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as error:
        run.main(["--suite", str(path), "--plan"])
    assert "\n" not in str(error.value)


def test_unknown_suite_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'demo'"):
        run.main(["--suite", "demoo"])


def test_flags():
    words = flags({"image_size": 48, "resume": False, "dry_run": True, "keep_epochs": [1, 2], "lr": -1})
    assert words == ["--image-size", "48", "--no-resume", "--dry-run", "--keep-epochs", "1,2", "--lr=-1"]


def test_the_plan_is_what_a_person_would_type_and_json_for_machines(tmp_path, capsys):
    words = ["--suite", "kernel_ssl_400_vs_800", "--output", str(tmp_path / "o"), "--records", str(tmp_path / "r")]
    assert run.main([*words, "--plan"]) == 0
    said = capsys.readouterr().out
    command = next(line for line in said.splitlines() if line.startswith("torchrun"))
    assert shlex.split(command)[:3] == ["torchrun", "--standalone", "--nproc-per-node=8"]
    assert "$imagenet" in command
    assert "20 runs: 20 to do" in said
    assert "coco-c4-2x: 3 fine-tunings a side show a difference of" in said
    assert run.main([*words, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    # 400 and 800 epochs of ImageNet at the model's speed on eight cards, nine fine-tunings of 57 hours and nine of 115.
    hours = 8 * 1200 * IMAGENET / step_time(H200_FP32, LINKS, KERNEL_SSL, 8, 1024).images_per_second / 3600
    assert content["gpu_hours_left"] == pytest.approx(hours + 9 * 57 + 9 * 115)
    assert content["runs_of_unknown_cost"] == 0
    assert {"name", "command", "state", "gpu_hours", "needs"} <= set(content["runs"][0])
    assert [power["repeats"] for power in content["power"]] == [3, 3]
    assert not (tmp_path / "o").exists()


def test_options_of_the_runner_that_exclude_each_other():
    for words, said in (
        (["--cancel"], "--cancel is for --cluster slurm"),
        (["--cluster", "slurm", "--jobs", "2"], "--jobs is for this machine"),
        (["--hours", "0"], "--hours is 0"),
    ):
        with pytest.raises(UserError, match=said):
            run.main(words)


def test_a_plan_is_frozen(tmp_path):
    with pytest.raises(dataclasses.FrozenInstanceError):
        planned("demo", tmp_path)[0].name = "x"
