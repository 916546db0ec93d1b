"""Classification as users call it: weights, records, exit codes."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmark.core.errors import RunFailed, UserError
from benchmark.core.folder import ROOT
from benchmark.records.record import RunRecord
from pretrain.engine.checkpoint import export_backbone, save_checkpoint
from pretrain.networks.encoder import Branches, untrained_backbone
from tests.transfer.checkpoints.layout_files import light
from tests.transfer.probing.image_folders import coloured
from transfer import classify
from transfer.checkpoints.resnet import detectron2_name
from transfer.checkpoints.weights import make_backbone, read_weights
from transfer.convert import convert_checkpoint
from transfer.probing.config import PROTOCOL_KEYS, ClassifyConfig


@pytest.fixture
def folder(tmp_path):
    return coloured(tmp_path)


# --- Weights ------------------------------------------------------------------------------------------------------


def a_checkpoint(path, branches):
    content = {"model": branches.state_dict(), "method": "kernel_ssl", "epoch": 3, "total_epochs": 5}
    save_checkpoint(path, content | {"iteration": 30, "optimizer": {}, "rng": torch.get_rng_state(), "config": {}})
    return path


def test_our_checkpoints_give_either_branch_and_the_export_its_own(tmp_path):
    branches = Branches("resnet18", 16, 16, 8, seed=4)
    with torch.no_grad():
        branches.momentum_encoder.conv1.weight.add_(1)
    path = a_checkpoint(tmp_path / "checkpoint.pth", branches)
    online, momentum = (read_weights(str(path), branch=branch) for branch in ("online", "momentum"))
    assert (online.arch, online.method, online.epochs, online.total_epochs) == ("resnet18", "kernel_ssl", 3, 5)
    assert torch.equal(momentum.state["conv1.weight"], online.state["conv1.weight"] + 1)
    random = read_weights("random", arch="resnet18", seed=4)
    assert all(torch.equal(online.state[name], tensor) for name, tensor in random.state.items())
    assert random.epochs == 0
    assert random.sha256 != read_weights("random", arch="resnet18", seed=5).sha256
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(make_backbone(online)(pixels), branches.encoder.eval()(pixels))

    about = {"method": "kernel_ssl", "epoch": 3, "total_epochs": 5, "branch": "online"}
    export_backbone(tmp_path / "backbone.safetensors", branches.encoder.state_dict(), about)
    export = read_weights(str(tmp_path / "backbone.safetensors"))
    assert (export.method, export.epochs, export.total_epochs) == ("kernel_ssl", 3, 5)
    assert all(torch.equal(online.state[name], tensor) for name, tensor in export.state.items())
    with pytest.raises(UserError, match="holds the online branch only"):
        read_weights(str(tmp_path / "backbone.safetensors"), branch="momentum")


def test_a_checkpoint_that_lacks_a_tensor_is_refused(tmp_path):
    branches = Branches("resnet18", 16, 16, 8, seed=0)
    del branches.encoder.layer3[1].conv2
    with pytest.raises(UserError, match="exactly the tensors of resnet18 or resnet50"):
        read_weights(str(a_checkpoint(tmp_path / "checkpoint.pth", branches)))


def test_foreign_checkpoints_and_converted_files(tmp_path):
    state = untrained_backbone(seed=3)
    torch.save(state, tmp_path / "plain.pth")
    moco = {"state_dict": {f"module.encoder_q.{name}": tensor for name, tensor in state.items()}, "epoch": 200}
    torch.save(moco, tmp_path / "moco.pth")
    torch.save(convert_checkpoint(tmp_path / "moco.pth"), tmp_path / "converted.pth")
    found = {name: read_weights(str(tmp_path / f"{name}.pth")) for name in ("plain", "moco", "converted")}
    for weights in found.values():
        assert weights.arch == "resnet50"
        assert all(torch.equal(weights.state[k], v) for k, v in state.items() if "num_batches" not in k)
        make_backbone(weights)
    assert (found["moco"].method, found["moco"].epochs) == ("moco", 200)
    assert found["converted"] == dataclasses.replace(found["moco"], state=found["converted"].state)
    assert read_weights(f"torchvision:{tmp_path / 'plain.pth'}").method == "supervised-torchvision"


def test_weights_that_want_another_kind_of_input_are_refused(tmp_path):
    path = tmp_path / "R-50.pth"
    state = untrained_backbone()
    theirs = {detectron2_name(name): state[name] for name in state if not name.endswith("num_batches_tracked")}
    torch.save({"model": theirs, "__author__": "somebody", "matching_heuristics": True}, path)
    with pytest.raises(UserError, match="a file of Detectron2"):
        read_weights(str(path))
    assert read_weights(str(path), layout="detectron2").arch == "resnet50"
    for spec in ("msra:R-50.pkl", "detectron2-random"):
        with pytest.raises(UserError, match="for detectors only"):
            read_weights(spec)


@pytest.mark.parametrize("content", [{}, {"model": None}, {"model": {"encoder.conv1.weight": torch.ones(3)}}])
def test_a_checkpoint_like_ours_without_what_ours_have(content, tmp_path):
    torch.save({"format_version": 1, **content}, tmp_path / "file.pth")
    with pytest.raises(UserError, match="holds no ResNet-50"):
        read_weights(str(tmp_path / "file.pth"))


def test_an_export_like_ours_whose_epochs_are_no_numbers(tmp_path):
    told = {"method": "m", "epoch": "x", "total_epochs": "2", "branch": "online"}
    state = {name: tensor.contiguous() for name, tensor in light(0).items()}
    save_file(state, tmp_path / "file.safetensors", metadata=told)
    assert read_weights(str(tmp_path / "file.safetensors")).epochs is None


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
    features = record.metrics["features"]
    assert 1 <= features["effective_rank"] <= 24
    assert 1 <= features["intra_class_effective_rank"] <= 8
    assert (features["samples"], features["samples_of_a_class"]) == (24, 8)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == record.metrics
    assert "image_size: 32" in (tmp_path / "out" / "config.yaml").read_text()

    # The same again says so; another probe reuses the features; another seed is another encoder.
    assert classify.main(arguments(folder, tmp_path)) == 0
    assert "complete already" in capsys.readouterr().out
    with pytest.raises(UserError, match="belongs to another run"):
        classify.main(arguments(folder, tmp_path, "--neighbours", "3"))
    monkeypatch.setattr("transfer.probing.job.extract", lambda *_, **__: pytest.fail("features were computed again"))
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
    assert not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "absent.pth"], "there is no file absent.pth"),
        (["--data", "absent"], "there is no folder"),
        (["--optimizer", "adam"], "--optimizer has no value 'adam'"),
        (["--temperature", "0"], "--temperature is 0.0; it must be above 0"),
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
    other = {"image_size": 64, "precision": "bf16", "epochs": 5, "batch_size": 8, "lr": 0.1, "optimizer": "sgd"}
    other |= {"neighbours": 3, "temperature": 0.1}
    assert set(other) == set(PROTOCOL_KEYS)
    for name, value in other.items():
        assert ClassifyConfig(data="x", **{name: value}).protocol() != base.protocol()
    assert ClassifyConfig(data="x", seed=3, workers=0).protocol() == base.protocol()
