"""Tests of transfer/checkpoints/initialisation.py: each family, its weights and its input convention."""

import pickle

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg

from benchmark.comparison.rows import METHOD_NAMES
from benchmark.core.errors import UserError
from pretrain.networks.encoder import Branches, untrained_backbone
from tests.transfer.checkpoints.layout_files import FILES, detectron2, light, without_head
from tests.transfer.detection.test_model import _caffe2
from transfer.checkpoints.initialisation import resolve_weights
from transfer.checkpoints.weights import read_weights

ONLINE, MOMENTUM = light(0), light(1)


def effective(initialisation):
    """Return the convention as a Detectron2 config takes it."""
    cfg = get_cfg()
    initialisation.convention.apply(cfg)
    return cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, cfg.MODEL.RESNETS.STRIDE_IN_1X1


SELF_SUPERVISED = ("RGB", [123.675, 116.28, 103.53], [58.395, 57.12, 57.375], False)


def test_random_is_the_encoder_that_pretraining_starts_from():
    found = resolve_weights("random", seed=5)
    start = Branches("resnet50", width=8, hidden=8, predictor_hidden=8, seed=5).encoder.state_dict()
    expected = detectron2(start)
    assert found.checkpoint["model"].keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.checkpoint["model"].items())
    assert not torch.equal(expected["stem.conv1.weight"], untrained_backbone(seed=6)["conv1.weight"])
    assert bool((expected["res5.2.conv3.norm.weight"] == 0).all()), "the last norm of a block starts at zero"
    assert (found.family, found.method, found.epoch) == ("random", "random", 0)
    assert effective(found) == SELF_SUPERVISED


def test_random_differs_by_seed_and_is_named_as_in_classification():
    first, second = resolve_weights("random", seed=0), resolve_weights("random", seed=1)
    assert first.sha256 != second.sha256
    assert first.sha256 == read_weights("random").sha256


def test_random_equals_a_checkpoint_of_zero_epochs(tmp_path):
    """The same encoder, once written by pre-training and converted, once made here."""
    state = {f"encoder.{name}": tensor for name, tensor in untrained_backbone(seed=2).items()}
    content = {"model": state, "format_version": 1, "method": "kernel_ssl", "epoch": 0, "total_epochs": 4}
    torch.save(content, tmp_path / "checkpoint.pth")
    file, random = resolve_weights(str(tmp_path / "checkpoint.pth")), resolve_weights("random", seed=2)
    assert file.epoch == 0
    assert all(torch.equal(t, file.checkpoint["model"][name]) for name, t in random.checkpoint["model"].items())


def test_detectron2_random_loads_nothing():
    found = resolve_weights("detectron2-random")
    assert (found.family, found.method, found.epoch) == ("detectron2-random", "detectron2-random", 0)
    assert found.checkpoint is None
    assert effective(found) == SELF_SUPERVISED


def test_a_checkpoint_and_its_branch(tmp_path):
    torch.save(FILES["moco"][1](ONLINE, MOMENTUM), tmp_path / "moco.pth.tar")
    found = resolve_weights(str(tmp_path / "moco.pth.tar"), branch="momentum")
    assert (found.family, found.branch, found.layout, found.method) == ("checkpoint", "momentum", "moco", "moco")
    assert (found.epoch, found.total_epochs) == (200, None)
    assert torch.equal(found.checkpoint["model"]["stem.conv1.weight"], MOMENTUM["conv1.weight"])
    assert effective(found) == SELF_SUPERVISED


def test_torchvision_supervised(tmp_path):
    torch.save(ONLINE, tmp_path / "resnet50.pth")
    found = resolve_weights(f"torchvision:{tmp_path / 'resnet50.pth'}")
    assert (found.family, found.method, found.epoch) == ("torchvision", "supervised-torchvision", None)
    assert found.method in METHOD_NAMES  # as tables call it
    assert effective(found) == SELF_SUPERVISED
    torch.save(FILES["moco"][1](ONLINE, MOMENTUM), tmp_path / "moco.pth.tar")
    with pytest.raises(UserError, match="no supervised file of torchvision but moco"):
        resolve_weights(f"torchvision:{tmp_path / 'moco.pth.tar'}")


@pytest.mark.parametrize("blobs", [False, True])
def test_msra_keeps_its_own_convention(blobs, tmp_path):
    content = _caffe2(ONLINE) | {"conv1_w_momentum": np.ones(1)}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"blobs": content} if blobs else content, protocol=2))
    found = resolve_weights(f"msra:{tmp_path / 'R-50.pkl'}")
    assert effective(found) == ("BGR", [103.53, 116.28, 123.675], [1.0, 1.0, 1.0], True)
    assert (found.family, found.method, found.checkpoint["__author__"]) == ("msra", "supervised-msra", "Caffe2")
    assert found.method in METHOD_NAMES
    assert len(found.checkpoint["model"]) == 159


def test_msra_refuses_others(tmp_path):
    torch.save(without_head(ONLINE), tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"is not MSRA's R-50\.pkl"):
        resolve_weights(f"msra:{tmp_path / 'other.pth'}")


def test_words_that_are_no_file():
    with pytest.raises(UserError, match=r"neither a file nor a known initialisation; did you mean 'random'\?"):
        resolve_weights("randon")
    with pytest.raises(UserError, match=r"there is no file absent\.pth"):
        resolve_weights("absent.pth")
