"""Classification: the probe learns what can be learnt, and only that; features, weights, records, exit codes."""

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from PIL import Image
from safetensors.torch import save_file

from benchmark.core.errors import RunFailed, UserError
from benchmark.core.folder import ROOT
from benchmark.records.record import RunRecord
from pretrain.engine.checkpoint import export_backbone, save_checkpoint
from pretrain.networks.encoder import Branches, build_backbone, untrained_backbone
from tests.transfer.checkpoints.layout_files import light
from transfer import classify
from transfer.checkpoints.resnet import detectron2_name
from transfer.checkpoints.weights import make_backbone, read_weights
from transfer.convert import convert_checkpoint
from transfer.probing.features import extract, find_splits, read_features, write_features
from transfer.probing.probe import ProbeSettings, accuracies, linear_probe, nearest_neighbours

CPU = torch.device("cpu")
COLOURS = {"blue": (40, 60, 200), "green": (30, 190, 60), "red": (210, 50, 40)}


def clusters(n, classes, dimensions, spread, seed):
    """Gaussian clusters round fixed centres: (n, d) features and their labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dimensions, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(classes, (n,), generator=generator)
    return centres[labels] + spread * torch.randn(n, dimensions, generator=generator), labels


@pytest.fixture
def folder(tmp_path):
    """Three classes told apart by colour alone, as JPEG and PNG."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for name, colour in COLOURS.items():
            target = tmp_path / "data" / split / name
            target.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(np.array(colour) + rng.normal(0, 25, (40, 50, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(target / f"{i}.{'png' if i % 2 else 'jpg'}")
    return tmp_path / "data"


# --- The classifiers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["lars", "sgd"])
def test_the_probe_learns_separable_classes_and_nothing_from_random_labels(optimizer):
    train, test = clusters(2000, 10, 64, 0.8, 1), clusters(500, 10, 64, 0.8, 2)
    settings = ProbeSettings(epochs=60, batch=256, lr=3.0 if optimizer == "lars" else 0.03, optimizer=optimizer)
    found = linear_probe(train, test, 10, settings, 0, CPU)
    assert found["top1"] > 99
    assert found["top1"] <= found["top5"] <= 100
    shuffled = test[1][torch.randperm(500, generator=torch.Generator().manual_seed(3))]
    assert 4 < linear_probe(train, (test[0], shuffled), 10, settings, 0, CPU)["top1"] < 17  # chance is 10


def test_the_norm_before_the_classifier_takes_scale_and_shift_out():
    train, test = clusters(600, 6, 32, 1.5, 1), clusters(300, 6, 32, 1.5, 2)
    scale, shift = torch.logspace(-2, 3, 32), torch.linspace(-50, 50, 32)
    settings = ProbeSettings(epochs=20, batch=128)
    plain = linear_probe(train, test, 6, settings, 0, CPU)
    moved = linear_probe((train[0] * scale + shift, train[1]), (test[0] * scale + shift, test[1]), 6, settings, 0, CPU)
    assert moved["top1"] == pytest.approx(plain["top1"], abs=3)
    assert linear_probe(train, test, 6, settings, 0, CPU) == plain


def test_the_settings_in_use():
    imagenet, small = ProbeSettings(), ProbeSettings()
    assert imagenet.batch_for(1_281_167) == 4096
    assert imagenet.lr_for(1_281_167) == pytest.approx(0.03 * 4096 / 256)
    assert imagenet.iterations_for(1_281_167) == 100 * 312
    assert imagenet.optimizer_for(1_281_167) == "lars"
    assert (small.batch_for(300), small.iterations_for(300), small.optimizer_for(300)) == (300, 100, "sgd")
    assert ProbeSettings(optimizer="lars").optimizer_for(300) == "lars"


def test_a_probe_that_diverges_says_so():
    features, labels = clusters(64, 3, 8, 1.0, 0)
    with pytest.raises(RunFailed, match="not finite in epoch"):
        linear_probe((features, labels), (features, labels), 3, ProbeSettings(lr=1e39, optimizer="sgd"), 0, CPU)


def test_accuracies_by_hand():
    scores = torch.tensor(
        [[9.0, 1, 0, 0, 0, 0, 0], [1, 9, 2, 3, 4, 5, 0], [0, 0, 0, 0, 0, 0, 9], [5, 5, 5, 5, 5, 5, 5]]
    )
    labels = torch.tensor([0, 2, 0, 1])  # right; fifth best; a tie behind one: second; a tie of all: second
    assert accuracies(lambda rows: rows, scores, labels) == {"top1": 25.0, "top5": 100.0}
    assert accuracies(lambda rows: rows, scores, torch.tensor([0, 0, 5, 6])) == {"top1": 25.0, "top5": 25.0}
    assert accuracies(lambda rows: rows, scores[:, :5], labels[:2].repeat(2)).keys() == {"top1"}


@pytest.mark.parametrize("neighbours", [1, 7, 1000])
def test_nearest_neighbours_equal_a_plain_loop(neighbours):
    train, test = clusters(200, 8, 5, 2.0, 1), clusters(60, 8, 5, 2.0, 2)
    right = 0
    for row, label in zip(test[0].double().numpy(), test[1].numpy(), strict=True):
        votes = np.zeros(8)
        bank = train[0].double().numpy()
        cosine = bank @ row / np.linalg.norm(bank, axis=1) / np.linalg.norm(row)
        for i in sorted(range(200), key=lambda i: -cosine[i])[:neighbours]:
            votes[train[1][i]] += math.exp(cosine[i] / 0.07)
        right += int(votes.argmax() == label)
    assert nearest_neighbours(train, test, 8, neighbours, 0.07, CPU)["top1"] == pytest.approx(100 * right / 60)


# --- Features -----------------------------------------------------------------------------------------------------


def test_features_are_those_of_torchvisions_evaluation_pipeline(folder, tmp_path):
    _, test, classes = find_splits(folder)
    assert classes == sorted(COLOURS)
    backbone = build_backbone("resnet18").eval()
    found = extract(backbone, test, size=28, batch=5, workers=0, device=CPU)
    pipeline = T.Compose(
        [
            T.Resize(32),
            T.CenterCrop(28),
            T.ToTensor(),
            T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    with torch.no_grad():
        images = [pipeline(Image.open(test.paths[i]).convert("RGB")) for i in range(len(test.paths))]
        torch.testing.assert_close(found.features, backbone(torch.stack(images)), rtol=1e-4, atol=1e-4)
    assert found.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found.unreadable == 0
    by_worker = extract(backbone, test, size=28, batch=5, workers=1, device=CPU)
    assert torch.equal(by_worker.features, found.features)

    write_features(tmp_path / "kept.safetensors", found)
    again = read_features(tmp_path / "kept.safetensors")
    assert torch.equal(again.features, found.features)
    assert torch.equal(again.labels, found.labels)
    (tmp_path / "kept.safetensors").write_bytes(b"damaged")
    assert read_features(tmp_path / "kept.safetensors") is None
    assert read_features(tmp_path / "absent.safetensors") is None


def test_unreadable_images_are_left_out_with_their_labels_and_fail_the_run_beyond_one_percent(folder):
    for i in range(300):
        (folder / "train" / "blue" / f"more{i}.png").write_bytes((folder / "train" / "blue" / "1.png").read_bytes())
    for name in ("blue", "green", "red"):
        (folder / "train" / name / "0.jpg").write_bytes(b"no image at all")
    train, _, _ = find_splits(folder)
    backbone = build_backbone("resnet18")
    found = extract(backbone, train, size=8, batch=64, workers=0, device=CPU)
    assert found.unreadable == 3
    assert torch.bincount(found.labels).tolist() == [307, 7, 7]
    (folder / "train" / "red" / "2.jpg").write_bytes(b"")
    with pytest.raises(RunFailed, match=r"4 of 324 images cannot be read.*blue/0\.jpg"):
        extract(backbone, train, size=8, batch=64, workers=0, device=CPU)


def test_weights_that_diverged_are_refused(folder):
    train, _, _ = find_splits(folder)
    backbone = build_backbone("resnet18")
    backbone.conv1.weight.data.fill_(float("nan"))
    with pytest.raises(RunFailed, match="features are not finite"):
        extract(backbone, train, size=8, batch=64, workers=0, device=CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "train").rename(root / "training"), "no folder train"),
        (lambda root: (root / "val").rename(root / "holdout"), "no folder validation or val or test"),
        (lambda root: (root / "val" / "red").rename(root / "val" / "rot"), "class 'rot', which train/ has not"),
        (lambda root: (root / "train" / "red" / "0.jpg").rename(root / "train" / "0.jpg"), "lies in no class folder"),
    ],
)
def test_folders_that_are_no_classification_task(folder, change, message):
    change(folder)
    with pytest.raises(UserError, match=message):
        find_splits(folder)


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
    monkeypatch.setattr(
        "transfer.probing.features.extract", lambda *_, **__: pytest.fail("features were computed again")
    )
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
    base = classify.ClassifyConfig(data="x")
    other = {"image_size": 64, "precision": "bf16", "epochs": 5, "batch_size": 8, "lr": 0.1, "optimizer": "sgd"}
    other |= {"neighbours": 3, "temperature": 0.1}
    assert set(other) == set(classify.PROTOCOL_KEYS)
    for name, value in other.items():
        assert classify.ClassifyConfig(data="x", **{name: value}).protocol() != base.protocol()
    assert classify.ClassifyConfig(data="x", seed=3, workers=0).protocol() == base.protocol()
