"""Fine-tuning as users call it: results, record, refusals, divergence, the plan."""

import json
import shutil

import pytest
import torch
import yaml

from benchmark.core.errors import RunFailed, UserError
from benchmark.core.options import parse
from benchmark.records import RunRecord
from pretrain.engine.checkpoint import LAST
from pretrain.networks.encoder import untrained_backbone
from tests.transfer.runs import coco_root, flags, lines, the_record, with_objects
from transfer import coco
from transfer.checkpoints.detectron2_form import detectron2_name
from transfer.detection.config import DetectionConfig
from transfer.detection.result import DETECTOR, PICTURE, PREDICTIONS, RESULT
from transfer.detection.run import prepare

SEED = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return coco_root(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """A complete run of six iterations from the untrained encoder; returns its folder."""
    folder = tmp_path_factory.mktemp("whole")
    assert coco.main(flags(folder, data, seed=SEED)) == 0
    return folder


def test_a_run_leaves_what_it_promises(whole):
    run = whole / "run"
    names = {path.name for path in run.iterdir()}
    assert names >= {RESULT, DETECTOR, PREDICTIONS, PICTURE, "config.yaml", "detectron2.yaml", "metrics.json"}
    assert (run / PICTURE).read_bytes().startswith(b"\x89PNG")
    results = json.loads((run / RESULT).read_text())
    assert set(results) == {"bbox", "segm"}
    assert 0 <= results["bbox"]["AP"] <= 100
    log = lines(whole)
    assert [line["iteration"] for line in log] == [1, 2, 3, 4, 5, 6]
    assert all(line["total_loss"] == pytest.approx(sum(line[k] for k in line if k.startswith("loss_"))) for line in log)
    assert log[0]["lr"] < log[2]["lr"] > log[5]["lr"]  # warm-up, then cosine


def test_the_record_says_what_ran(whole, data):
    record, results = the_record(whole), json.loads((whole / "run" / RESULT).read_text())
    assert (record.kind, record.status, record.method, record.epochs) == ("detection", "completed", "random", 0)
    assert (record.protocol, record.seed, record.metrics) == ("embedded", SEED, results)
    assert record.overrides["SOLVER.MAX_ITER"] == 6
    details = record.details
    assert (details["lr"], details["lr_chosen_by"], details["norm"]) == (0.02, "protocol", "BN")
    assert details["backbone_tensors_proven"] == 265
    assert details["norms"] == {"BatchNorm2d": 53}
    assert with_objects(data) == 7  # in one of the eight scenes no object fitted
    assert (details["train_images"], details["test_images"], details["precision"]) == (7, 4, "fp32")
    assert details["epochs_over_data"] == pytest.approx(6 * 4 / 7)


def test_channels_last_trains_alike_in_float32_and_goes_on_bit_by_bit(whole, data, tmp_path):
    """The order of numbers in memory changes the order of sums alone: the same losses, but for rounding."""
    arguments = flags(tmp_path, data, seed=SEED, memory_format="channels_last", checkpoint_every=3)
    assert coco.main(arguments) == 0
    ours, theirs = ([line["total_loss"] for line in lines(folder)] for folder in (tmp_path, whole))
    assert ours[:2] == pytest.approx(theirs[:2], rel=1e-5)
    assert ours[:4] == pytest.approx(theirs[:4], rel=2e-3)
    assert ours == pytest.approx(theirs, rel=3e-2)  # by then another of two nearly equal proposals may be taken
    assert the_record(tmp_path).details["memory_format"] == "channels_last"
    assert the_record(tmp_path).protocol_hash == the_record(whole).protocol_hash
    assert the_record(whole).details["memory_format"] == "contiguous"
    tensors = torch.load(tmp_path / "run" / DETECTOR, weights_only=True)["model"]
    assert tensors["backbone.bottom_up.stem.conv1.weight"].is_contiguous(memory_format=torch.channels_last)

    for name in (RESULT, DETECTOR, LAST):  # as if it had been killed after its fourth or fifth iteration
        (tmp_path / "run" / name).unlink()
    assert coco.main(arguments) == 0
    assert [line["total_loss"] for line in lines(tmp_path)] == ours
    again = torch.load(tmp_path / "run" / DETECTOR, weights_only=True)["model"]
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)


def test_the_backbone_trained_and_started_from_the_untrained_encoder(whole):
    tensors = torch.load(whole / "run" / DETECTOR, weights_only=True)["model"]
    start_state = untrained_backbone("resnet50", SEED)
    name = "layer3.0.conv2.weight"
    before, after = start_state[name], tensors["backbone.bottom_up." + detectron2_name(name)]
    moved = (before - after).norm() / before.norm()
    assert 0 < moved < 0.2


def test_a_complete_run_is_only_reported(whole, data, capsys):
    before = (whole / "run" / DETECTOR).stat().st_mtime_ns
    assert coco.main(flags(whole, data, seed=SEED)) == 0
    assert "complete already" in capsys.readouterr().err
    assert (whole / "run" / DETECTOR).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 4}, "weights"),
        ({"seed": SEED, "lr": 0.01}, "lr: 0.02 there, 0.01 here"),
        ({"seed": SEED, "weights": "detectron2-random"}, "family: random there, detectron2-random here"),
        ({"seed": SEED, "protocol": "coco-fpn-1x", "tiny": False}, "protocol: embedded there, coco-fpn-1x here"),
    ],
)
def test_a_folder_of_another_run_is_refused(whole, data, change, words):
    """Pitfall 25: Detectron2 would resume and report the first run's weights as the second's."""
    with pytest.raises(UserError, match="belongs to another run") as error:
        coco.main(flags(whole, data, **change))
    assert words in str(error.value)


def test_other_data_are_refused(whole, tmp_path):
    other = coco_root(tmp_path / "other", train=7)
    with pytest.raises(UserError, match=r"belongs to another run \(data: "):
        coco.main(flags(whole, other, seed=SEED))


def test_eval_only_gives_the_run_s_own_results(whole, data, tmp_path):
    weights = whole / "run" / DETECTOR
    assert coco.main([*flags(tmp_path, data, weights=weights), "--eval-only"]) == 0
    for name in (RESULT, PREDICTIONS):
        assert json.loads((tmp_path / "run" / name).read_text()) == json.loads((whole / "run" / name).read_text())
    assert json.loads((whole / "run" / PREDICTIONS).read_text())
    assert (tmp_path / "run" / "detectron2.yaml").is_file()
    assert not (tmp_path / "records").exists()  # it would count as a repeat
    assert (
        coco.main(
            [*flags(tmp_path, data, weights=weights, evaluator="pycocotools", output=tmp_path / "b"), "--eval-only"]
        )
        == 0
    )
    second = json.loads((tmp_path / "b" / RESULT).read_text())
    assert second["segm"]["AP"] == pytest.approx(json.loads((tmp_path / "run" / RESULT).read_text())["segm"]["AP"])


def test_eval_only_refuses_what_is_no_such_detector(whole, data, tmp_path):
    torch.save({"model": {"conv1.weight": torch.zeros(1)}}, tmp_path / "backbone.pth")
    with pytest.raises(UserError, match=r"no detector of this protocol and data: \d+ missing"):
        coco.main([*flags(tmp_path, data, weights=tmp_path / "backbone.pth"), "--eval-only"])
    voc_like = torch.load(whole / "run" / DETECTOR, weights_only=True)
    name = "roi_heads.box_predictor.cls_score.weight"
    voc_like["model"][name] = voc_like["model"][name][:5]
    torch.save(voc_like, tmp_path / "fewer.pth")
    with pytest.raises(UserError, match=r"1 of another shape \(roi_heads\.box_predictor\.cls_score\.weight\)"):
        coco.main([*flags(tmp_path, data, weights=tmp_path / "fewer.pth"), "--eval-only"])


def test_eval_only_needs_the_validation_split_only_and_dry_run_checks_the_detector(whole, data, tmp_path, capsys):
    alone = shutil.copytree(data, tmp_path / "alone")
    shutil.rmtree(alone / "train2017")
    (alone / "annotations" / "instances_train2017.json").unlink()
    weights = whole / "run" / DETECTOR
    arguments = [*flags(tmp_path, alone, weights=weights), "--eval-only"]
    assert coco.main([*arguments, "--dry-run"]) == 0
    assert "4 images, RPN" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"no detector of this protocol and data: \d+ missing"):
        coco.main(
            [*flags(tmp_path, alone, weights=weights, protocol="coco-c4-1x", tiny=False), *arguments[-1:], "--dry-run"]
        )
    assert coco.main(arguments) == 0
    assert json.loads((tmp_path / "run" / RESULT).read_text()) == json.loads((whole / "run" / RESULT).read_text())


def test_a_detector_trained_elsewhere_is_recorded_as_imported(whole, data, tmp_path):
    content = torch.load(whole / "run" / DETECTOR, weights_only=True)
    torch.save({"model": content["model"], "iteration": 5}, tmp_path / "theirs.pth")
    arguments = [*flags(tmp_path, data, weights=tmp_path / "theirs.pth"), "--eval-only", "--record"]
    assert coco.main(arguments) == 0
    record = the_record(tmp_path)
    assert (record.kind, record.status, record.method, record.seed) == ("imported", "completed", "theirs", None)
    assert record.metrics == json.loads((whole / "run" / RESULT).read_text())
    with pytest.raises(UserError, match="--record belongs to --eval-only"):
        coco.main([*flags(tmp_path, data), "--record"])


def test_a_diverged_run_is_recorded_as_such(data, tmp_path):
    """A loss that is not finite ends the run with the iteration and the lr; checkpoints hold finite numbers alone."""
    words = ["SOLVER.BASE_LR", "1e12", "SOLVER.CLIP_GRADIENTS.ENABLED", "False"]
    with pytest.raises(RunFailed, match=r"not finite at iteration \d+ \(lr .*last good checkpoint"):
        coco.main(flags(tmp_path, data, *words, checkpoint_every=1))
    record = the_record(tmp_path)
    assert record.status == "diverged"
    assert record.metrics == {}
    assert record.details["iteration"] in range(1, 6)
    assert record.details["lr_at_end"] > 1e8
    last = tmp_path / "run" / "checkpoint.pth"
    assert not last.exists() or all(
        t.isfinite().all() for t in torch.load(last, weights_only=True)["model"].values() if t.is_floating_point()
    )
    assert not (tmp_path / "run" / RESULT).exists()


def test_dry_run_prints_the_summary_first_and_writes_nothing(data, tmp_path, capsys):
    assert coco.main([*flags(tmp_path, data, "SOLVER.BASE_LR", "0.03"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("protocol    embedded (COCO)")
    for words in ("instances_train2017.json", "would write", "sha256", "no run with these settings", "0.03, chosen by"):
        assert words in said
    assert "6 x 4 images / 7 training images = 3.4 epochs" in said
    assert "BASE_LR: 0.03" not in said
    assert coco.main([*flags(tmp_path, data, "SOLVER.BASE_LR", "0.03"), "--dry-run", "--verbose"]) == 0
    verbose = capsys.readouterr().out
    assert verbose.startswith(said.rpartition("(--verbose")[0])
    assert "BASE_LR: 0.03" in verbose
    assert "MAX_ITER: 6" in verbose
    assert list(tmp_path.iterdir()) == []


def test_dry_run_tells_hours_from_records_or_from_others_logs_and_warns_of_many_epochs(data, tmp_path, capsys):
    full = [*flags(tmp_path, data, protocol="coco-c4-1x", tiny=False), "--dry-run"]
    assert coco.main(full) == 0
    said = capsys.readouterr().out
    assert "about 7.1 h (57 GPU hours) and 10.1 GB a GPU on 8 x A100" in said
    assert "warning: 90,000 iterations are 205,714 epochs over 7 images" in said
    assert "SOLVER.MAX_ITER 11 here" in said
    device = torch.device("cpu")
    run = prepare("coco", parse(DetectionConfig, full, "", ""), device)
    about = {"kind": "detection", "method": "mec", "seed": 0, "metrics": {}, "protocol": "coco-c4-1x"}
    about |= {"hardware": {"name": "a card", "processes": 8}, "protocol_hash": run.subject.protocol.hash}
    for number, (hours, status) in enumerate([(8, "completed"), (10, "completed"), (1, "failed")]):
        RunRecord(id=f"r{number}", status=status, duration_seconds=3600.0 * hours, **about).write(tmp_path / "records")
    assert coco.main(full) == 0
    assert "9.00 h on 8 x a card (median of 2 recorded runs)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["MODEL.RPN.HEAD_NAME", "Mine"], "cannot build a detector from these settings"),
        (["INPUT.MIN_SIZE_TRAIN_SAMPLING", "sometimes"], "cannot build a detector from these settings"),
        (["SOLVER.WARMUP_METHOD", "slow"], "cannot build a detector from these settings"),
        (["MODEL.RESNETS.WIDTH_PER_GROUP", "32"], "another ResNet than that of random"),
        (["MODEL.RESNETS.DEPTH", "101"], "another ResNet than that of random"),
    ],
)
def test_what_cannot_be_built_is_known_before_training(words, reason, data, tmp_path):
    for more in ([], ["--dry-run"]):
        with pytest.raises(UserError, match=reason) as caught:
            coco.main([*flags(tmp_path, data, *words), *more])
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_resnet_18_fine_tunes_with_an_fpn_alone(data, tmp_path):
    state = untrained_backbone("resnet18", 3)
    torch.save(dict(state), tmp_path / "resnet18.pth")
    words = ["SOLVER.MAX_ITER", "1", "SOLVER.WARMUP_ITERS", "0"]
    assert coco.main(flags(tmp_path, data, *words, weights=tmp_path / "resnet18.pth")) == 0
    record = the_record(tmp_path)
    assert record.details["backbone_tensors_proven"] == 100
    assert yaml.safe_load((tmp_path / "run" / "detectron2.yaml").read_text())["MODEL"]["RESNETS"]["DEPTH"] == 18
    with pytest.raises(UserError, match="an FPN protocol takes a ResNet-18 as well"):
        coco.main(flags(tmp_path, data, weights=tmp_path / "resnet18.pth", protocol="coco-c4-1x", tiny=False))


def test_list_names_protocols_and_layouts(capsys):
    assert coco.main(["--list"]) == 0
    said = capsys.readouterr().out
    for words in ("coco-fpn-4conv-1x", "COCO: Mask R-CNN R50-C4", "180,000 x 16 images, lr 0.02", "moco", "solo-learn"):
        assert words in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": "absent.pth"}, "there is no file absent.pth"),
        ({"weights": "randm"}, "did you mean 'random'"),
        ({"protocol": "coco-c5-1x"}, "did you mean 'coco-c4-"),
        ({"fraction": 0.03}, "--fraction is 0.03; it is one of"),
        ({"sweep_lr": "0.01"}, "--sweep-lr needs at least two"),
        ({"sweep_lr": "0.01,0.02", "lr": 0.1}, "--sweep-lr and a learning rate"),
        ({"ims_per_batch": 3}, "3"),
        ({"evaluator": "cocotools"}, "did you mean 'pycocotools'"),
        ({"lr": -1}, "--lr is -1"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(data, tmp_path, options, words):
    with pytest.raises(UserError) as error:
        coco.main(flags(tmp_path, data, **options))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_bad_overrides_are_refused(data, tmp_path):
    for words, expected in (
        (["SOLVER.BASE_LRR", "1"], "SOLVER.BASE_LR"),
        (["SOLVER.BASE_LR"], "SOLVER.BASE_LR"),
        (["SOLVER.MAX_ITER", "many"], "SOLVER.MAX_ITER"),
    ):
        with pytest.raises(UserError, match=expected):
            coco.main(flags(tmp_path, data, *words, tiny=False))
