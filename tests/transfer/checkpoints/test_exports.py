"""Others' tools read ours: MoCo's linear probe, MoCo's converter and torchvision, each by its documented steps."""

import pickle

import pytest
import torch
import torchvision

from benchmark.core.errors import UserError
from tests.transfer.checkpoints.layout_files import FILES, light, network
from tests.transfer.checkpoints.project_files import PROJECTS
from transfer.checkpoints.conversion import read_backbone
from transfer.checkpoints.weights import resolve_weights
from transfer.convert import main

STATE = network(4)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of our own pre-training, its momentum branch another network."""
    path = tmp_path_factory.mktemp("ours") / "checkpoint.pth"
    torch.save(FILES["ours"][1](STATE, light(1)), path)
    return path


def exported(checkpoint, folder, form, *more):
    """Return the file that convert.py --to FORM writes."""
    path = folder / "exported"
    assert main([str(checkpoint), "--to", form, "--output", str(path), *more]) == 0
    return path


def features(model, seed=0):
    model.fc = torch.nn.Identity()
    with torch.no_grad():
        return model.eval()(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed)))


def reference():
    model = torchvision.models.resnet50()
    model.load_state_dict(STATE)
    return features(model)


def test_moco_s_linear_probe_loads_it(checkpoint, tmp_path):
    """facebookresearch/moco main_lincls.py:179-204, its steps."""
    loaded = torch.load(exported(checkpoint, tmp_path, "moco"), map_location="cpu", weights_only=True)
    state_dict = loaded["state_dict"]
    for key in list(state_dict):
        if key.startswith("module.encoder_q") and not key.startswith("module.encoder_q.fc"):
            state_dict[key[len("module.encoder_q.") :]] = state_dict[key]
        del state_dict[key]
    model = torchvision.models.resnet50()
    message = model.load_state_dict(state_dict, strict=False)
    assert set(message.missing_keys) == {"fc.weight", "fc.bias"}
    assert message.unexpected_keys == []
    assert torch.equal(features(model), reference())
    assert (loaded["arch"], loaded["epoch"]) == ("resnet50", 400)


def test_moco_s_converter_takes_it_and_we_take_what_comes_out(checkpoint, tmp_path):
    """facebookresearch/moco detection/convert-pretrain-to-detectron2.py, its steps, and its output through ours."""
    loaded = torch.load(exported(checkpoint, tmp_path, "moco"), map_location="cpu", weights_only=True)
    converted = {}
    for key, tensor in loaded["state_dict"].items():
        assert key.startswith("module.encoder_q.")
        name = key.replace("module.encoder_q.", "")
        name = name if "layer" in name else "stem." + name
        for stage in (1, 2, 3, 4):
            name = name.replace(f"layer{stage}", f"res{stage + 1}")
        for layer in (1, 2, 3):
            name = name.replace(f"bn{layer}", f"conv{layer}.norm")
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        converted[name] = tensor.numpy()
    content = {"model": converted, "__author__": "MOCO", "matching_heuristics": True}
    (tmp_path / "moco.pkl").write_bytes(pickle.dumps(content))
    found = resolve_weights(str(tmp_path / "moco.pkl"))
    assert all(torch.equal(tensor, STATE[name]) for name, tensor in found.tensors.items())
    assert found.convention.name == "rgb"


def test_torchvision_loads_it(checkpoint, tmp_path):
    model = torchvision.models.resnet50()
    state = torch.load(exported(checkpoint, tmp_path, "torchvision"), weights_only=True)
    assert list(state) == [name for name in model.state_dict() if not name.startswith("fc.")]
    assert set(model.load_state_dict(state, strict=False).missing_keys) == {"fc.weight", "fc.bias"}
    assert torch.equal(features(model), reference())


def test_the_asked_branch_is_exported_and_our_account_stays_with_it(checkpoint, tmp_path):
    momentum = read_backbone(exported(checkpoint, tmp_path, "moco", "--branch", "momentum"), branch="momentum")
    assert torch.equal(momentum.tensors["conv1.weight"], light(1)["conv1.weight"])
    assert (momentum.method, momentum.epoch, momentum.total_epochs, momentum.seed) == ("kernel_ssl", 400, 800, 3)
    assert (momentum.layout, momentum.branch) == ("pretrain", "momentum")


def test_the_default_names_and_a_resnet18(tmp_path):
    path = tmp_path / "small.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    assert main([str(path), "--to", "torchvision"]) == 0
    assert main([str(path), "--to", "moco"]) == 0
    names = {item.name for item in tmp_path.iterdir()}
    assert names == {"small.moco.pth.tar", "small.pth", "small.torchvision.pth"}
    assert torch.load(tmp_path / "small.moco.pth.tar", weights_only=True)["arch"] == "resnet18"
    with pytest.raises(UserError, match="this is a ResNet-18, and only a ResNet-50"):
        main([str(path)])


def test_weights_that_want_other_images_are_not_exported(tmp_path):
    project = next(project for project in PROJECTS if project.name == "Detectron2's model zoo, C4")
    project.write(tmp_path / "zoo.pkl", light(0), light(1))
    for form in ("moco", "torchvision"):
        with pytest.raises(UserError, match="does not take torchvision's kind of images"):
            main([str(tmp_path / "zoo.pkl"), "--to", form])
    torch.save({"model": FILES["detectron2 FPN"][1](light(0), light(1))["model"]}, tmp_path / "silent.pth")
    with pytest.raises(UserError, match="or does not say so"):
        main([str(tmp_path / "silent.pth"), "--to", "moco"])
    assert main([str(tmp_path / "silent.pth"), "--to", "moco", "--layout", "detectron2"]) == 0
