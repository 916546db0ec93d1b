"""pretrain/run.py as users call it: whole small runs, mistakes, odd images, resuming what has changed."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmark.core.errors import RunFailed, UserError
from benchmark.core.folder import ROOT
from pretrain.engine.checkpoint import LAST, PREVIOUS, load_checkpoint, save_checkpoint
from pretrain.engine.export import BACKBONE
from pretrain.run import main
from tests.pretrain.runs import call, flags, lines, pictures, record_of, said_by

CLOTHING = ROOT.parent / "shared" / "data" / "clothing" / "train"


@pytest.fixture(scope="module")
def completed(tmp_path_factory):
    """A completed run of two epochs of three iterations, logged every second one, and what it said."""
    folder = tmp_path_factory.mktemp("completed")
    pictures(folder / "data")
    return folder, said_by(flags(folder, log_every=2, keep_epochs=1))


@pytest.fixture
def copy(completed, tmp_path):
    """A copy of the completed run that a test may spoil."""
    shutil.copytree(completed[0], tmp_path / "copy")
    return tmp_path / "copy"


# --- What a run leaves --------------------------------------------------------------------------------------------


def test_the_folder_holds_what_the_docs_say_and_no_more(completed):
    folder, _ = completed
    names = {path.name for path in (folder / "run").iterdir()}
    assert names == {
        "run.json", ".lock", "outcome.json", "record.json", "config.yaml", "metrics.json", "tensorboard", LAST,
        PREVIOUS, BACKBONE, "checkpoint_0001.pth",
    }  # fmt: skip
    assert load_checkpoint(folder / "run" / "checkpoint_0001.pth")["epoch"] == 1
    last = load_checkpoint(folder / "run" / LAST)
    assert (last["epoch"], last["total_epochs"], last["iteration"], last["method"]) == (2, 2, 6, "kernel_ssl")
    backbone = load_file(folder / "run" / BACKBONE)
    assert all(torch.equal(value, last["model"][f"encoder.{name}"]) for name, value in backbone.items())


def test_the_record_says_how_it_went(completed):
    folder, _ = completed
    record = record_of(folder)
    assert (record.status, record.kind, record.epochs, record.total_epochs) == ("completed", "pretrain", 2, 2)
    assert record.metrics["pretrain"]["loss"] == lines(folder / "run")[-1]["loss"]
    assert record.details["unreadable"] == []
    assert record.data == "data"


def test_metrics_lines_and_tensorboard_agree(completed):
    folder, _ = completed
    found = lines(folder / "run")
    assert [line["iteration"] for line in found] == [1, 2, 4, 6]
    wanted = {"loss", "lr", "ema", "gradient_norm", "images_per_second", "radius_uniformity", "radius_alignment"}
    assert wanted | {"effective_rank_backbone", "effective_rank_projector"} <= set(found[0])
    events = EventAccumulator(str(folder / "run" / "tensorboard")).Reload()
    for name in wanted:
        scalars = events.Scalars(name)
        assert [scalar.step for scalar in scalars] == [1, 2, 4, 6]
        assert [scalar.value for scalar in scalars] == pytest.approx([line[name] for line in found], rel=1e-6)


def test_in_a_pipe_progress_is_lines_with_loss_lr_speed_rank_and_time_left(completed):
    said = completed[1]
    assert "\r" not in said
    lines_of_it = [line for line in said.splitlines() if line.startswith("kernel_ssl, 2 epochs: iteration ")]
    assert "iteration 6/6, loss -" in lines_of_it[-1]
    assert all(word in lines_of_it[-1] for word in (", lr ", ", rank ", ", images/s ", "0:00:00 left"))


def test_real_photographs(tmp_path):
    if not CLOTHING.is_dir():
        pytest.skip(f"{CLOTHING} is not there")
    said_by(flags(tmp_path, CLOTHING, images=32, image_size=48, precision="bf16", epochs=1))
    record = record_of(tmp_path)
    assert (record.status, record.details["images"], record.details["unreadable"]) == ("completed", 32, [])
    assert record.metrics["pretrain"]["effective_rank_backbone"] > 1.5


# --- Images of every kind -----------------------------------------------------------------------------------------


def test_odd_images_are_images(tmp_path):
    """Unicode names, every mode, one pixel, links, folders that are named like images."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 4), dtype=np.uint8)
    rgba, rgb = Image.fromarray(pixels), Image.fromarray(pixels[..., :3].copy())
    data = tmp_path / "data" / "Bücher 書 %s"
    data.mkdir(parents=True)
    rgba.save(data / "alpha.png")
    rgba.save(data / "naïve café.webp")
    rgb.convert("P").save(data / "palette.gif")
    rgb.convert("CMYK").save(data / "cmyk.jpg")
    rgb.convert("L").save(data / "grey.JPEG")
    rgb.convert("1").save(data / "bits.tif")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(data / "deep.png")
    rgb.resize((1, 1)).save(data / "one.png")
    rgb.resize((300, 1)).save(data / "line.bmp")
    (data / "folder.jpg").mkdir()
    rgb.save(data / "folder.jpg" / "inside.jpg")
    (data / "link.png").symlink_to(data / "alpha.png")
    (data / "linked").symlink_to(data / "folder.jpg")
    said_by(flags(tmp_path, batch_size=12, epochs=2, workers=1))
    record = record_of(tmp_path)
    assert (record.status, record.details["images"], record.details["unreadable"]) == ("completed", 12, [])


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("many") / "data", 120)


def test_an_unreadable_image_is_named_counted_and_replaced(many, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(many, data)
    (data / "007.png").write_bytes((data / "007.png").read_bytes()[:200])
    text = said_by(flags(tmp_path, epochs=1, batch_size=24))
    assert text.count(f"cannot be read, replaced by another image: {data / '007.png'}") == 1
    record = record_of(tmp_path)
    assert (record.status, record.details["unreadable"]) == ("completed", [str(data / "007.png")])
    assert load_checkpoint(tmp_path / "run" / LAST)["hooks"]["UnreadableImages"]["paths"] == [str(data / "007.png")]


def test_a_run_fails_beyond_one_per_cent(many, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(many, data)
    (data / "007.png").write_bytes(b"")
    (data / "050.png").unlink()
    (data / "050.png").symlink_to("nowhere")
    with pytest.raises(RunFailed, match=r"2 of 120 images cannot be read, more than 1 % .*007.png.*050.png"):
        main(flags(tmp_path, epochs=1, batch_size=24))
    record = record_of(tmp_path)
    assert record.status == "failed"
    assert "2 of 120 images" in record.details["reason"]


# --- Mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "absent"}, ["there is no folder absent", "--data"]),
        ({"data": str(ROOT / "pretrain" / "recipes")}, ["holds no images", ".jpg"]),
        ({"batch_size": 25}, ["has 24 images, fewer than --batch-size 25"]),
        ({"images": 25}, ["holds 24 images, fewer than --images 25"]),
        ({"batch_size": 1}, ["--batch-size is 1", "2 or more"]),
        ({"micro_batch": 3}, ["--micro-batch 3 does not divide the 8 images", "divisor"]),
        ({"epochs": 3, "warmup_epochs": 5}, ["--warmup-epochs 5", "--epochs 3"]),
        ({"precision": "fp61"}, ["--precision", "did you mean 'fp16'"]),
        ({"device": "cuda"}, ["--device cuda was given but no GPU"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_mistake_is_told_in_one_sentence_and_nothing_is_written(completed, tmp_path, changes, words):
    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError) as told:
        main(flags(tmp_path, **{"data": completed[0] / "data", **changes}))
    assert all(word in str(told.value) for word in words), str(told.value)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()


def test_a_batch_that_the_processes_cannot_share(completed, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="--batch-size 9 is not divisible by 2 processes"):
        main(flags(tmp_path, completed[0] / "data", batch_size=9))
    assert not (tmp_path / "run").exists()


def test_of_several_processes_one_tells_the_mistake(tmp_path):
    """torchrun ends the others as soon as one has left, so the one that speaks must be the first to leave."""
    ended = call(flags(tmp_path, tmp_path / "absent"), processes=2)
    assert ended.returncode == 1  # torchrun's own
    assert ended.stderr.count("there is no folder") == 1


# --- The plan -----------------------------------------------------------------------------------------------------


def test_a_dry_run_prints_the_plan_and_writes_nothing(completed, tmp_path, monkeypatch, capsys):
    arguments = [*flags(tmp_path, completed[0] / "data", images_per_second=3), "--dry-run"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    for word in ("arch: resnet18", "iterations    6 =", "parameters", "GFLOP / image", "memory        about", "GiB"):
        assert word in text
    # 24 images in an epoch at 3 images/s: 8 s
    assert "2 epochs 0.00444, 100 epochs 0.222, 400 epochs 0.889, 800 epochs 1.78" in text
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(arguments) == 0
    assert capsys.readouterr().out == ""


def test_a_dry_run_refuses_the_folder_of_another_run(copy):
    with pytest.raises(UserError, match=r"belongs to another run \(config.epochs: 2 there, 3 here"):
        main([*flags(copy, epochs=3, images_per_second=3), "--dry-run"])


# --- Going on with a run ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 3}, "config.epochs: 2 there, 3 here"),
        ({"seed": 1}, "config.seed: 0 there, 1 here"),
        ({"gamma": 0.5}, "config.gamma: 1.0 there, 0.5 here"),
        ({"batch_size": 4}, "config.batch_size: 8 there, 4 here"),
        ({"images": 16}, "images.count: 24 there, 16 here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_another_run_is_not_continued(copy, changes, words):
    before = (copy / "run" / LAST).read_bytes()
    with pytest.raises(UserError, match="belongs to another run") as told:
        main(flags(copy, **{"log_every": 2, "keep_epochs": 1, **changes}))
    assert words in str(told.value)
    assert (copy / "run" / LAST).read_bytes() == before


def test_other_images_of_the_same_number_and_names_are_another_run(copy):
    pictures(copy / "data", level=7)
    with pytest.raises(UserError, match=r"belongs to another run \(images.fingerprint"):
        main(flags(copy))


def test_a_moved_folder_and_what_changes_no_result_may_differ(copy):
    (copy / "data").rename(copy / "moved")
    text = said_by(flags(copy, copy / "moved", workers=1, log_every=5, keep_every=1, checkpoint_minutes=1))
    assert "this run is complete already" in text


def test_no_resume_refuses_a_run_that_is_there(copy):
    with pytest.raises(UserError, match="already holds this run"):
        main([*flags(copy), "--no-resume"])


def test_a_run_killed_before_its_record_gets_it_by_the_same_command(copy):
    before = record_of(copy)
    shutil.rmtree(copy / "records")
    (copy / "run" / "record.json").unlink()
    said_by(flags(copy, log_every=2, keep_epochs=1))
    after = record_of(copy)
    for name in ("id", "status", "metrics", "epochs", "file_sha256", "data", "details"):
        assert getattr(after, name) == getattr(before, name)
    assert after.duration_seconds == load_checkpoint(copy / "run" / LAST)["seconds"]


def test_the_record_of_a_complete_run_stays_and_a_deleted_one_is_put_back(copy):
    (path,) = (copy / "records").glob("*.json")
    content = path.read_bytes()
    said_by(flags(copy, log_every=2, keep_epochs=1))
    assert path.read_bytes() == content
    path.unlink()
    assert "written again" in said_by(flags(copy, log_every=2, keep_epochs=1))
    assert path.read_bytes() == content


def test_from_a_damaged_checkpoint_the_one_before_continues_to_the_same_weights(completed, copy):
    path = copy / "run" / LAST
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    said = said_by(flags(copy, log_every=2, keep_epochs=1))
    assert "checkpoint.pth is damaged" in said
    assert "Going on from checkpoint.previous.pth, iteration 3" in said
    first, second = (load_checkpoint(folder / "run" / LAST)["model"] for folder in (completed[0], copy))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert (copy / "run" / "checkpoint.damaged.pth").read_bytes() == content


def test_when_all_checkpoints_are_damaged_the_run_fails_and_overwrites_none(copy):
    path = copy / "run" / LAST
    for spoiled in (path, copy / "run" / PREVIOUS):
        spoiled.write_bytes(spoiled.read_bytes()[:50_000])
    with pytest.raises(RunFailed, match=r"checkpoint.pth is damaged .* remove the damaged files to begin anew"):
        main(flags(copy))
    assert path.stat().st_size == 50_000
    assert record_of(copy).status == "failed"


def without(*names):
    def change(content):
        for name in names:
            del content[name]

    return change


def set_to(value, *keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


WEIGHT = "encoder.layer1.0.conv1.weight"
WRONG_FIELDS = {
    "no model": without("model"),
    "no optimizer": without("optimizer"),
    "no scaler, rng, seconds": without("scaler", "rng", "seconds"),
    "no identity": without("identity"),
    "an iteration beyond the end": set_to(7, "iteration"),
    "a negative iteration": set_to(-1, "iteration"),
    "an iteration in words": set_to("six", "iteration"),
    "an epoch that does not belong to the iteration": set_to(1, "epoch"),
    "a time that is not finite": set_to(float("nan"), "seconds"),
    "a tensor of another shape": set_to(torch.zeros(3), "model", WEIGHT),
    "a tensor of another type": set_to(torch.zeros(64, 64, 3, 3, dtype=torch.float16), "model", WEIGHT),
    "a weight that is not finite": set_to(torch.full((64, 64, 3, 3), torch.nan), "model", WEIGHT),
    "a model that is a list": set_to([1, 2], "model"),
    "an optimizer of something else": set_to({"state": {}, "param_groups": []}, "optimizer"),
    "a momentum of another shape": set_to(torch.zeros(5), "optimizer", "state", 0, "momentum_buffer"),
    "another weight decay": set_to(0.5, "optimizer", "param_groups", 0, "weight_decay"),
    "random numbers of another kind": set_to(torch.zeros(3), "rng"),
    "hooks that remember nothing": set_to({"FailureSignatures": {}}, "hooks"),
    "hooks that are a number": set_to(3, "hooks"),
}


@pytest.mark.parametrize("change", WRONG_FIELDS.values(), ids=WRONG_FIELDS)
def test_a_checkpoint_with_missing_or_wrong_fields_is_damaged(completed, copy, change):
    """One sentence, and the run goes on from the checkpoint before to the weights that it should have had."""
    path = copy / "run" / LAST
    content = load_checkpoint(path)
    change(content)
    (copy / "run" / PREVIOUS).rename(copy / "before.pth")
    torch.save(content, path)
    (copy / "before.pth").rename(copy / "run" / PREVIOUS)
    said = said_by(flags(copy, log_every=2, keep_epochs=1))
    assert said.count("warning: ") == 1
    assert "Going on from checkpoint.previous.pth, iteration 3" in said
    first, second = (load_checkpoint(folder / "run" / LAST)["model"] for folder in (completed[0], copy))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_checkpoint_of_another_run_in_the_folder_is_refused(copy):
    path = copy / "run" / LAST
    content = load_checkpoint(path)
    content["identity"]["config"]["gamma"] = 0.1
    save_checkpoint(path, content)
    with pytest.raises(UserError, match=r"checkpoint.pth is of another run than its folder"):
        main(flags(copy))


def test_a_kept_checkpoint_in_the_place_of_the_last_continues_from_there(completed, copy):
    shutil.copy(copy / "run" / "checkpoint_0001.pth", copy / "run" / LAST)
    assert "continuing at iteration 3 of 6 (epoch 1)" in said_by(flags(copy, log_every=2, keep_epochs=1))
    first, second = (load_checkpoint(folder / "run" / LAST)["model"] for folder in (completed[0], copy))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
