"""Tests of transfer/checkpoints/weights.py: every word of --weights, its tensors and its convention."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names
from detectron2.config import get_cfg
from safetensors.torch import save_file

from benchmark.comparison.methods import METHOD_NAMES
from benchmark.core.errors import UserError
from pretrain.engine.checkpoint import save_checkpoint
from pretrain.engine.export import export_backbone
from pretrain.networks.encoder import untrained_backbone
from tests.pretrain.runs import method
from tests.transfer.checkpoints.layout_files import FILES, detectron2, light, without_head
from tests.transfer.checkpoints.msra_file import caffe2_form
from transfer.checkpoints.convention import MSRA_BGR, RGB
from transfer.checkpoints.conversion import convert_checkpoint
from transfer.checkpoints.weights import resolve_weights
from transfer.probing.encoder import check_for_classification, make_encoder

ONLINE, MOMENTUM = light(0), light(1)


def effective(initialisation):
    """Return the convention as a Detectron2 config takes it."""
    cfg = get_cfg()
    initialisation.convention.apply(cfg)
    return cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, cfg.MODEL.RESNETS.STRIDE_IN_1X1


SELF_SUPERVISED = ("RGB", [123.675, 116.28, 103.53], [58.395, 57.12, 57.375], False)


def test_random_is_the_encoder_that_pretraining_starts_from():
    found = resolve_weights("random", seed=5)
    start = method(arch="resnet50", seed=5).encoder.state_dict()
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
    assert (found.family, found.branch, found.layout, found.method) == ("checkpoint", "momentum", "moco", "moco_v1")
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
    content = caffe2_form(ONLINE) | {"conv1_w_momentum": np.ones(1)}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"blobs": content} if blobs else content, protocol=2))
    found = resolve_weights(f"msra:{tmp_path / 'R-50.pkl'}")
    assert effective(found) == ("BGR", [103.53, 116.28, 123.675], [1.0, 1.0, 1.0], True)
    assert (found.family, found.method) == ("msra", "supervised-msra")
    assert found.method in METHOD_NAMES
    theirs, _ = convert_c2_detectron_names({name: torch.as_tensor(value) for name, value in content.items()})
    ours = found.checkpoint["model"]
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items() if name in ours)
    assert len(ours.keys() & theirs.keys()) == 159
    folded = {name: tensor for name, tensor in ours.items() if name not in theirs}
    assert len(folded) == 106
    assert all(bool((t == 0).all()) for name, t in folded.items() if name.endswith("running_mean"))
    assert all(bool((t + 1e-5 == 1).all()) for name, t in folded.items() if name.endswith("running_var"))


def test_msra_refuses_others(tmp_path):
    torch.save(without_head(ONLINE), tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"is neither MSRA's R-50\.pkl nor"):
        resolve_weights(f"msra:{tmp_path / 'other.pth'}")


def test_words_that_are_no_file():
    with pytest.raises(UserError, match=r"neither a file nor a known initialisation; did you mean 'random'\?"):
        resolve_weights("randon")
    with pytest.raises(UserError, match=r"there is no file absent\.pth"):
        resolve_weights("absent.pth")


# --- Files of ours ------------------------------------------------------------------------------------------------


def a_checkpoint(path, branches):
    content = {"model": branches.state_dict(), "method": "kernel_ssl", "epoch": 3, "total_epochs": 5}
    save_checkpoint(path, content | {"iteration": 30, "optimizer": {}, "rng": torch.get_rng_state(), "config": {}})
    return path


def test_our_checkpoints_give_either_branch_and_the_export_its_own(tmp_path):
    branches = method(seed=4)
    with torch.no_grad():
        branches.momentum_encoder.conv1.weight.add_(1)
    path = a_checkpoint(tmp_path / "checkpoint.pth", branches)
    online, momentum = (resolve_weights(str(path), branch=branch) for branch in ("online", "momentum"))
    assert (online.arch, online.method, online.epoch, online.total_epochs) == ("resnet18", "kernel_ssl", 3, 5)
    assert torch.equal(momentum.tensors["conv1.weight"], online.tensors["conv1.weight"] + 1)
    random = resolve_weights("random", arch="resnet18", seed=4)
    assert all(torch.equal(online.tensors[name], tensor) for name, tensor in random.tensors.items())
    assert random.epoch == 0
    assert random.sha256 != resolve_weights("random", arch="resnet18", seed=5).sha256
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(make_encoder(online)(pixels), branches.encoder.eval()(pixels))

    about = {"method": "kernel_ssl", "epoch": 3, "total_epochs": 5, "branch": "online"}
    export_backbone(tmp_path / "backbone.safetensors", branches.encoder.state_dict(), about)
    export = resolve_weights(str(tmp_path / "backbone.safetensors"))
    assert (export.method, export.epoch, export.total_epochs) == ("kernel_ssl", 3, 5)
    assert all(torch.equal(online.tensors[name], tensor) for name, tensor in export.tensors.items())
    with pytest.raises(UserError, match="has no momentum branch; it has online"):
        resolve_weights(str(tmp_path / "backbone.safetensors"), branch="momentum")


def test_a_checkpoint_that_lacks_a_tensor_is_refused(tmp_path):
    branches = method()
    del branches.encoder.layer3[1].conv2
    with pytest.raises(
        UserError, match=r"the 100 tensors of a ResNet-18 backbone: 1 missing: layer3\.1\.conv2\.weight"
    ):
        resolve_weights(str(a_checkpoint(tmp_path / "checkpoint.pth", branches)))


def test_foreign_checkpoints_and_converted_files(tmp_path):
    state = untrained_backbone(seed=3)
    torch.save(state, tmp_path / "plain.pth")
    moco = {"state_dict": {f"module.encoder_q.{name}": tensor for name, tensor in state.items()}, "epoch": 200}
    torch.save(moco, tmp_path / "moco.pth")
    torch.save(convert_checkpoint(tmp_path / "moco.pth"), tmp_path / "converted.pth")
    found = {name: resolve_weights(str(tmp_path / f"{name}.pth")) for name in ("plain", "moco", "converted")}
    for weights in found.values():
        assert weights.arch == "resnet50"
        assert all(torch.equal(weights.tensors[k], v) for k, v in state.items() if "num_batches" not in k)
        make_encoder(weights)
    assert (found["moco"].layout, found["moco"].method, found["moco"].epoch) == ("moco", None, 200)
    assert found["converted"] == dataclasses.replace(found["moco"], tensors=found["converted"].tensors)
    assert resolve_weights(f"torchvision:{tmp_path / 'plain.pth'}").method == "supervised-torchvision"


# --- How a file of Detectron2 takes its images ----------------------------------------------------------------------


def a_detector(**more):
    return {"model": FILES["detectron2 FPN"][1](ONLINE, MOMENTUM)["model"], **more}


PIXEL_STD = {"rgb": torch.tensor([[[58.395]], [[57.12]], [[57.375]]]), "msra": torch.ones(3, 1, 1)}


@pytest.mark.parametrize(
    ("content", "convention"),
    [
        ({"model": detectron2(ONLINE), "__author__": "torchvision"}, RGB),
        ({"model": detectron2(ONLINE), "__author__": "MOCO"}, RGB),
        ({"model": detectron2(ONLINE)}, RGB),
        (a_detector(__author__="Detectron2 Model Zoo"), MSRA_BGR),
        (a_detector(detector={"family": "msra"}), MSRA_BGR),
        (a_detector(detector={"family": "checkpoint"}), RGB),
        ({"model": a_detector()["model"] | {"pixel_std": PIXEL_STD["msra"]}}, MSRA_BGR),
        ({"model": a_detector()["model"] | {"pixel_std": PIXEL_STD["rgb"]}}, RGB),
    ],
)
def test_the_convention_that_a_file_under_detectron2_s_names_tells(content, convention, tmp_path):
    torch.save(content, tmp_path / "file.pth")
    found = resolve_weights(str(tmp_path / "file.pth"))
    assert found.convention == convention
    assert found.source()["input"] == convention.name
    torch.save(found.checkpoint, tmp_path / "converted.pth")
    assert resolve_weights(str(tmp_path / "converted.pth")).convention == convention
    if convention != RGB:
        with pytest.raises(UserError, match="for detectors only"):
            check_for_classification(found, "file.pth")


def test_a_detector_that_says_nothing_of_its_images_is_refused_until_somebody_does(tmp_path):
    path = str(tmp_path / "model_final.pth")
    torch.save(a_detector(iteration=89999), path)
    with pytest.raises(UserError, match=r"--layout detectron2 if .* \(RGB\), or msra:.*model_final.pth if MSRA's"):
        resolve_weights(path)
    assert resolve_weights(path, layout="detectron2").convention == RGB
    assert resolve_weights(f"msra:{path}").convention == MSRA_BGR


def test_weights_are_called_by_their_method_or_else_by_their_file(tmp_path):
    torch.save(without_head(light(0)), tmp_path / "mine.pth")
    word = str(tmp_path / "mine.pth")
    assert resolve_weights(word).name(word) == "mine"
    assert resolve_weights(word, method="byol").name(word) == "byol"


def test_weights_of_detectors_alone_cannot_classify():
    with pytest.raises(UserError, match="for detectors only"):
        check_for_classification(resolve_weights("detectron2-random"), "detectron2-random")


@pytest.mark.parametrize("content", [{}, {"model": None}, {"model": {"encoder.conv1.weight": torch.ones(3)}}])
def test_a_checkpoint_like_ours_without_what_ours_have(content, tmp_path):
    torch.save({"format_version": 1, **content}, tmp_path / "file.pth")
    with pytest.raises(UserError, match="holds no ResNet-50"):
        resolve_weights(str(tmp_path / "file.pth"))


def test_an_export_like_ours_whose_epochs_are_no_numbers(tmp_path):
    told = {"method": "m", "epoch": "x", "total_epochs": "2", "branch": "online"}
    state = {name: tensor.contiguous() for name, tensor in light(0).items()}
    save_file(state, tmp_path / "file.safetensors", metadata=told)
    assert resolve_weights(str(tmp_path / "file.safetensors")).epoch is None
