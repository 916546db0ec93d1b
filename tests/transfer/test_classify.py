"""Classification as users call it: weights, records, exit codes."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from benchmark.core.errors import RunFailed, UserError
from benchmark.core.folder import ROOT
from benchmark.records import RunRecord
from tests.transfer.probing.image_folders import coloured
from transfer import classify
from transfer.probing.config import PROTOCOL_KEYS, ClassifyConfig


@pytest.fixture
def folder(tmp_path):
    return coloured(tmp_path)


# --- The command --------------------------------------------------------------------------------------------------


def arguments(folder, tmp_path, *more):
    fixed = ["--arch", "resnet18", "--image-size", "32", "--epochs", "30", "--workers", "0", "--device", "cpu"]
    places = ["--output", tmp_path / "out", "--records", tmp_path / "records", "--features", tmp_path / "kept"]
    return [str(word) for word in ["--data", folder, *fixed, *places, *more]]


def test_the_command_end_to_end(folder, tmp_path, monkeypatch, capsys):
    assert classify.main(arguments(folder, tmp_path, "--dry-run")) == 0
    assert "24 training and 12 test images (val), 3 classes, crops of 32 px" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "kept").exists()

    command = [sys.executable, str(ROOT / "transfer" / "classify.py"), *arguments(folder, tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = (tmp_path / "records").glob("*.json")
    record = RunRecord.read(path)
    assert (record.kind, record.status, record.method, record.epochs) == ("classification", "completed", "random", 0)
    assert record.metrics["linear"]["top1"] > 90  # by colour alone; chance is 33
    assert record.metrics["knn"]["top1"] > 90
    assert record.metrics["linear_exact"]["top1"] > 90
    assert 0 <= record.metrics["knn"]["top1_low"] <= record.metrics["knn"]["top1"] <= record.metrics["knn"]["top1_high"]
    assert set(record.metrics) == {
        "linear",
        "linear_exact",
        "knn",
        "features",
    }  # 200 neighbours are more than there are
    assert "left out    k-NN with 200: there are 24 training images" in done.stderr
    assert set(record.details["top1_by_class"]["knn"]) == {"blue", "green", "red"}
    assert record.details["exact_probe_l2"] > 0
    features = record.metrics["features"]
    assert 1 <= features["effective_rank"] <= 24
    assert 1 <= features["intra_class_effective_rank"] <= 8
    assert (features["samples"], features["samples_of_a_class"]) == (24, 8)
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == record.metrics
    assert "image_size: 32" in (tmp_path / "out" / "config.yaml").read_text()

    # The same again says so; another probe reuses the features; another seed is another encoder.
    assert classify.main(arguments(folder, tmp_path)) == 0
    assert "complete already" in capsys.readouterr().err
    with pytest.raises(UserError, match="belongs to another run"):
        classify.main(arguments(folder, tmp_path, "--neighbours", "3"))
    monkeypatch.setattr("transfer.probing.work.extract", lambda *_, **__: pytest.fail("features were computed again"))
    assert classify.main(arguments(folder, tmp_path, "--neighbours", "3", "--output", str(tmp_path / "b"))) == 0
    assert len(list((tmp_path / "records").glob("*.json"))) == 2
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        classify.main(arguments(folder, tmp_path, "--seed", "1", "--output", str(tmp_path / "c")))


def test_changed_images_are_another_run(folder, tmp_path, capsys):
    assert classify.main(arguments(folder, tmp_path)) == 0
    Image.new("RGB", (40, 40), "red").save(folder / "train" / "blue" / "1.png")
    with pytest.raises(UserError, match="belongs to another run"):
        classify.main(arguments(folder, tmp_path))


def test_a_run_that_fails_leaves_a_record_that_says_why(folder, tmp_path):
    for path in (folder / "train" / "red").iterdir():
        path.write_bytes(b"")
    with pytest.raises(RunFailed, match="cannot be read"):
        classify.main(arguments(folder, tmp_path))
    (path,) = (tmp_path / "records").glob("*.json")
    record = RunRecord.read(path)
    assert (record.status, record.metrics) == ("failed", {})
    assert "8 of 24 images cannot be read" in record.details["reason"]
    assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "absent.pth"], "there is no file absent.pth"),
        (["--data", "absent"], "there is no folder"),
        (["--weights", "random", "--features", "/proc/there"], "/proc/there cannot be written"),
        (["--optimizer", "adam"], "--optimizer has no value 'adam'"),
        (["--neighbours", "20,20"], "--neighbours takes one number"),
        (["--temperature", "0"], "--temperature is 0; it must be"),
        (["--arch", "resnet5"], "did you mean 'resnet50'"),
    ],
)
def test_mistakes_exit_with_2_and_one_sentence(words, message, tmp_path):
    command = [sys.executable, str(ROOT / "transfer" / "classify.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_every_option_of_the_protocol_changes_its_hash():
    base = ClassifyConfig(data="x")
    probe = {"recipe": "moco", "epochs": 5, "batch_size": 8, "lr": 0.1, "optimizer": "sgd"}
    other = {"image_size": 64, "precision": "bf16", "neighbours": (3,), "temperature": 0.1}
    other |= {"label_fractions": (0.1,), "few_epochs": 3, "few_batch": 7, "encoder_lr": 0.1, "classifier_lr": 0.2}
    assert set(other) == set(PROTOCOL_KEYS)
    for name, value in (probe | other).items():
        assert ClassifyConfig(data="x", **{name: value}).protocol() != base.protocol()
    assert ClassifyConfig(data="x", seed=3, workers=0).protocol() == base.protocol()


def test_more_neighbours_than_images_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="--neighbours 25 is more than the 24 training images"):
        classify.main(arguments(folder, tmp_path, "--neighbours", "25"))


def test_few_labels_are_in_the_record_with_their_images(folder, tmp_path):
    more = ["--label-fractions", "0.25", "--few-epochs", "1", "--few-batch", "3"]
    assert classify.main(arguments(folder, tmp_path, *more)) == 0
    (path,) = (tmp_path / "records").glob("*.json")
    record = RunRecord.read(path)
    assert 0 <= record.metrics["labels_0.25"]["top1"] <= 100
    found = record.details["few_labels"]["0.25"]
    assert (len(found["images"]), found["iterations"]) == (6, 2)
    assert (tmp_path / "out" / "labels-0.25" / "metrics.json").is_file()


def test_a_recipe_and_its_own_settings_are_one_protocol():
    named, spelled = (
        ClassifyConfig(data="x", recipe="swav"),
        ClassifyConfig(data="x", recipe="swav", epochs=100, lr=0.3),
    )
    assert named.protocol() == spelled.protocol()
    assert (named.probe.optimizer, named.probe.batch, named.probe.weight_decay) == ("sgd", 256, 1e-6)
