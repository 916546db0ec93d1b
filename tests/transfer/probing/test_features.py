"""Features of an image folder: torchvision's own pipeline, unreadable images, the kept file."""

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from PIL import Image

from benchmark.core.errors import RunFailed, UserError
from pretrain.networks.encoder import build_backbone
from tests.transfer.probing.image_folders import COLOURS, coloured
from transfer.probing.features import extract, read_features, write_features
from transfer.probing.splits import find_splits

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    return coloured(tmp_path)


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


def test_a_plain_folder_is_split_by_itself(folder, tmp_path):
    plain = folder / "train"
    train, test, classes = find_splits(plain)
    assert classes == sorted(COLOURS)
    assert (train.name, test.name) == ("own-train", "own-test")
    names = [{split.paths[i] for i in range(len(split.paths))} for split in (train, test)]
    assert not names[0] & names[1]
    assert (len(names[0]), len(names[1])) == (18, 6)
    assert np.bincount(test.labels).tolist() == [2, 2, 2]
    assert all(f"/{classes[label]}/" in test.paths[i] for i, label in enumerate(test.labels))
    assert find_splits(plain)[1].fingerprint() == test.fingerprint()
    assert find_splits(plain, seed=1)[1].fingerprint() != test.fingerprint()
    for path in sorted((plain / "red").iterdir())[1:]:
        path.unlink()
    with pytest.raises(UserError, match=r"class 'red' .* has one image"):
        find_splits(plain)
