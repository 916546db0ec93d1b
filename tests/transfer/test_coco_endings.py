"""How a fine-tuning ends and goes on: real signals, damaged files, unreadable images, a record that was deleted."""

import json
import resource
import signal
import time

import pytest
import torch

from benchmark.core.errors import RunFailed, UserError
from benchmark.records import RunRecord
from pretrain.engine.checkpoint import DAMAGED, LAST, PREVIOUS
from tests.faults.zygote import Zygote
from tests.transfer.runs import coco_root, flags, start
from transfer import coco
from transfer.detection.result import DETECTOR, PREDICTIONS, RESULT

ITERATIONS = 10
WORDS = ("SOLVER.MAX_ITER", str(ITERATIONS))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return coco_root(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """A finished run with a checkpoint after each iteration, and its command line."""
    folder = tmp_path_factory.mktemp("trained")
    arguments = flags(folder, data, *WORDS, checkpoint_every=1)
    assert coco.main(arguments) == 0
    return folder, arguments


def the_record(folder):
    (path,) = (folder / "records").glob("*.json")
    return RunRecord.read(path)


def detector_of(folder):
    return torch.load(folder / "run" / DETECTOR, weights_only=True)["model"]


@pytest.fixture(scope="module")
def zygote():
    with Zygote("coco") as started:
        yield started


def signalled(zygote, arguments, run, number):
    """Start a run, send it a signal once it has logged its third iteration; return exit code and what it said."""
    process = zygote.start(arguments, run.parent / "log")
    deadline = time.monotonic() + 120
    while not ((run / "metrics.json").is_file() and '"iteration": 3,' in (run / "metrics.json").read_text()):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill_group()
            pytest.fail(f"the third iteration never came:\n{process.output[-3000:]}")
        time.sleep(0.01)
    process.signal(number)
    return process.wait(), process.output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)], ids=["TERM", "INT"])
def test_a_signal_saves_at_the_step_at_hand_and_the_run_goes_on_from_there(
    zygote, number, code, data, trained, tmp_path
):
    """The weights at the end are those of the run that nobody stopped."""
    arguments = flags(tmp_path, data, *WORDS, checkpoint_every=1000)
    found, output = signalled(zygote, arguments, tmp_path / "run", number)
    assert found == code, output[-2000:]
    assert "the same command continues" in output
    saved = torch.load(tmp_path / "run" / LAST, weights_only=True)["iteration"]
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.json").read_text().splitlines()]
    assert saved == log[-1]["iteration"] < ITERATIONS
    assert json.loads((tmp_path / "run" / "outcome.json").read_text())["exit_code"] == code
    assert not list(tmp_path.glob("records/*.json"))
    assert coco.main(arguments) == 0
    whole, after = detector_of(trained[0]), detector_of(tmp_path)
    assert all(torch.equal(whole[name], after[name]) for name in whole)


def test_checkpoints_follow_the_clock_too(data, tmp_path):
    words = ("SOLVER.MAX_ITER", "3", "SOLVER.WARMUP_ITERS", "0")
    assert coco.main(flags(tmp_path, data, *words, checkpoint_every=1000, checkpoint_minutes=1e-9)) == 0
    assert torch.load(tmp_path / "run" / PREVIOUS, weights_only=True)["iteration"] == 2


def flip(path):
    """Change one bit in the middle of a file, in the bytes of a tensor."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def unfinished(trained, *removed):
    """Take files of the finished run away; return its folder, its command line and the weights it ended with."""
    folder, arguments = trained
    before = detector_of(folder)
    for name in (RESULT, *removed):
        (folder / "run" / name).unlink()
    return folder, arguments, before


def test_a_damaged_checkpoint_falls_back_to_the_one_before(trained, capsys):
    folder, arguments, before = unfinished(trained, DETECTOR)
    flip(folder / "run" / LAST)
    assert coco.main(arguments) == 0
    said = capsys.readouterr().err
    assert "is damaged" in said
    assert f"Going on from {PREVIOUS}, iteration {ITERATIONS - 1}" in said
    assert (folder / "run" / DAMAGED).is_file()
    after = detector_of(folder)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_detector_is_made_again(damage, trained, capsys):
    folder, arguments, before = unfinished(trained)
    path = folder / "run" / DETECTOR
    if damage == "flipped":
        flip(path)
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else 100_000])
    assert coco.main(arguments) == 0
    assert f"{DETECTOR} is damaged" in capsys.readouterr().err
    after = detector_of(folder)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_deleted_record_is_written_again(trained):
    folder, arguments = trained
    record = the_record(folder)
    (folder / "records" / f"{record.id}.json").unlink()
    assert coco.main(arguments) == 0
    assert the_record(folder) == record
    (folder / "records" / f"{record.id}.json").unlink()
    (folder / "run" / "record.json").unlink()
    assert coco.main(arguments) == 0
    assert the_record(folder).metrics == record.metrics


@pytest.mark.parametrize("content", ["", "{", "[]", '{"bbox": 3}', "\0\0"])
def test_damaged_results_are_a_mistake_in_one_sentence(content, trained):
    folder, arguments = trained
    kept = (folder / "run" / RESULT).read_text()
    (folder / "run" / RESULT).write_text(content)
    with pytest.raises(UserError, match=r"results\.json .*; remove it, and the same command evaluates again"):
        coco.main(arguments)
    (folder / "run" / RESULT).write_text(kept)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"script": "coco"}'])
def test_a_damaged_identity_is_refused(content, trained):
    folder, arguments = trained
    kept = (folder / "run" / "run.json").read_text()
    (folder / "run" / "run.json").write_text(content)
    with pytest.raises(UserError) as caught:
        coco.main(arguments)
    assert str(folder / "run") in str(caught.value)
    (folder / "run" / "run.json").write_text(kept)


def test_no_resume_refuses_a_folder_that_holds_the_run(trained):
    _, arguments = trained
    with pytest.raises(UserError, match="already holds this run and --no-resume was given"):
        coco.main([*arguments, "--no-resume"])


def test_another_number_of_processes_is_another_run(trained):
    _, arguments = trained
    process = start(arguments, processes=2)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "processes: 1 there, 2 here" in output


def test_tensorboard_has_the_losses_of_every_logged_iteration(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, _ = trained
    events = EventAccumulator(str(folder / "run" / "tensorboard"))
    events.Reload()
    log = [json.loads(line) for line in (folder / "run" / "metrics.json").read_text().splitlines()]
    for name in ("total_loss", "loss_mask", "lr"):
        found = {event.step: event.value for event in events.Scalars(name)}
        assert found == pytest.approx({line["iteration"]: line[name] for line in log}, rel=1e-6)


def test_an_unreadable_image_ends_the_run_with_a_record(tmp_path):
    data = coco_root(tmp_path / "data", train=4, val=2)
    for path in (data / "train2017").iterdir():
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(RunFailed, match=r"\.png cannot be used for training .*; mend or remove it"):
        coco.main(flags(tmp_path, data))
    record = the_record(tmp_path)
    assert record.status == "failed"
    assert ".png cannot be used for training" in record.details["reason"]
    assert json.loads((tmp_path / "run" / "outcome.json").read_text())["status"] == "failed"


def test_a_full_disk_leaves_a_record(data, tmp_path):
    """A limit on the size of files stands for the disk: a checkpoint has some 350 MB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50 << 20, hard))
    try:
        with pytest.raises(RunFailed, match=r"checkpoint\.pth"):
            coco.main(flags(tmp_path, data, *WORDS, checkpoint_every=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert the_record(tmp_path).status == "failed"
    assert not list((tmp_path / "run").glob(".checkpoint*.part"))
    assert coco.main(flags(tmp_path, data, *WORDS, checkpoint_every=ITERATIONS)) == 0
    assert the_record(tmp_path).status == "completed"


@pytest.mark.parametrize("option", ["output", "records"])
def test_folders_that_cannot_be_written_are_known_before_training(option, data, tmp_path):
    (tmp_path / "file").write_text("no folder")
    for words in ([], ["--dry-run"]):
        with pytest.raises(UserError, match="file"):
            coco.main([*flags(tmp_path, data, **{option: tmp_path / "file" / "below"}), *words])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_finished_detector_is_evaluated_with_mended_annotations(trained, tmp_path):
    """The figures of mended annotations take the place of the run's own, under its id: no second repeat."""
    folder, _ = trained
    data = coco_root(tmp_path / "data")
    path = data / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"] = content["annotations"][:1]
    path.write_text(json.dumps(content))
    arguments = flags(tmp_path, data, weights=folder / "run" / DETECTOR, output=tmp_path / "again")
    before, record = (folder / "run" / PREDICTIONS).read_text(), the_record(folder)
    assert coco.main([*arguments, "--eval-only", "--record"]) == 0
    assert (tmp_path / "again" / PREDICTIONS).read_text() == before
    again = the_record(tmp_path)
    assert (again.id, again.kind, again.seed, again.method) == (record.id, "detection", record.seed, record.method)
    assert (again.protocol_hash, again.details["lr"]) == (record.protocol_hash, record.details["lr"])
    assert again.details["evaluated_only"]
    assert again.metrics == json.loads((tmp_path / "again" / RESULT).read_text()) != record.metrics
