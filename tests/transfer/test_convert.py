"""Tests of transfer/convert.py: every layout there and back, strictness, branches, epochs."""

import argparse

import numpy as np
import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from safetensors.torch import save_file

from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of_file
from pretrain.engine.export import export_backbone
from tests.transfer.checkpoints.converted import is_exactly, saved
from tests.transfer.checkpoints.layout_files import (
    FILES,
    light,
    numbered,
    split_c4,
    under,
    with_projector,
    without_head,
)
from transfer.checkpoints.conversion import convert_checkpoint
from transfer.checkpoints.detectron2_form import AUTHOR
from transfer.checkpoints.inspection import inspect_file

ONLINE, MOMENTUM = light(0), light(1)
MOCO = FILES["moco"][1](ONLINE, MOMENTUM)


@pytest.mark.parametrize("name", FILES)
def test_every_layout_is_found_by_itself(name, tmp_path):
    layout, build, has_momentum, (method, epoch, total) = FILES[name]
    path = saved(build(ONLINE, MOMENTUM), tmp_path)
    content = convert_checkpoint(path)
    assert is_exactly(content, ONLINE)
    assert content["__author__"] == AUTHOR
    assert content["matching_heuristics"] is True
    source = content["source"]
    assert (source["layout"], source["branch"], source["sha256"]) == (layout, "online", sha256_of_file(path))
    assert (source["method"], source["epoch"], source["total_epochs"]) == (method, epoch, total)
    assert all(type(value) in (str, int, type(None)) for value in source.values())
    assert is_exactly(convert_checkpoint(path, layout=layout), ONLINE)
    if has_momentum:
        momentum = convert_checkpoint(path, branch="momentum")
        assert is_exactly(momentum, MOMENTUM)
        assert momentum["source"]["branch"] == "momentum"
    else:
        with pytest.raises(UserError, match=r"has no momentum branch; it has online"):
            convert_checkpoint(path, branch="momentum")


PREFIXES = ("", "encoder_q.", "student.backbone.")


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
@pytest.mark.parametrize("container", [None, "state_dict", "model"])
def test_wrappers_and_containers_present_or_absent(wrapper, container, tmp_path):
    for prefix in PREFIXES:
        for placed in (wrapper + prefix, prefix + wrapper):
            state = under(placed, without_head(ONLINE))
            path = saved({container: state} if container else state, tmp_path)
            assert is_exactly(convert_checkpoint(path), ONLINE), placed


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pth.tar", ".ckpt", ".pkl", ".safetensors", ""])
def test_content_decides_and_not_the_extension(suffix, tmp_path):
    assert is_exactly(convert_checkpoint(saved(MOCO, tmp_path, "file" + suffix)), ONLINE)
    save_file({name: t.contiguous() for name, t in under("module.encoder_q.", ONLINE).items()}, tmp_path / "other.pth")
    assert is_exactly(convert_checkpoint(tmp_path / "other.pth"), ONLINE)


def test_our_exported_backbone_and_its_metadata(tmp_path):
    path = tmp_path / "backbone.safetensors"
    told = {"method": "kernel_ssl", "arch": "resnet50", "epoch": 8, "total_epochs": 16, "branch": "online", "seed": 5}
    export_backbone(path, without_head(ONLINE), told)
    content = convert_checkpoint(path)
    assert is_exactly(content, ONLINE)
    source = content["source"]
    assert (source["layout"], source["branch"]) == ("pretrain-backbone", "online")
    assert (source["method"], source["epoch"], source["total_epochs"], source["seed"]) == ("kernel_ssl", 8, 16, 5)
    with pytest.raises(UserError, match="no momentum branch"):
        convert_checkpoint(path, branch="momentum")


def test_a_real_checkpoint_of_the_seed_keeps_it(tmp_path):
    assert convert_checkpoint(saved(FILES["ours"][1](ONLINE, MOMENTUM), tmp_path))["source"]["seed"] == 3


@pytest.mark.parametrize("branch", ["online", "momentum"])
def test_converting_a_converted_file_changes_nothing(branch, tmp_path):
    once = convert_checkpoint(saved(MOCO, tmp_path), branch=branch)
    path = saved(once, tmp_path, "once.pth")
    twice = convert_checkpoint(path, branch=branch)
    assert twice["source"] == once["source"]
    assert is_exactly(twice, ONLINE if branch == "online" else MOMENTUM)
    other = "momentum" if branch == "online" else "online"
    with pytest.raises(UserError, match=f"no {other} branch; it has {branch}"):
        convert_checkpoint(path, branch=other)


def test_a_forged_source_keeps_only_known_plain_values(tmp_path):
    once = convert_checkpoint(saved(MOCO, tmp_path))
    once["source"] = {"sha256": "a", "branch": "online", "epoch": [1], "method": "m", "more": "x"}
    source = convert_checkpoint(saved(once, tmp_path))["source"]
    assert (source["sha256"], source["epoch"], source["method"]) == ("a", None, "m")
    assert "more" not in source
    once["source"]["branch"] = "elsewhere"
    assert convert_checkpoint(saved(once, tmp_path))["source"]["branch"] == "online"


def test_a_file_loads_safely_and_has_the_schema_detectron2_needs(tmp_path):
    content = convert_checkpoint(saved(MOCO, tmp_path))
    again = torch.load(saved(content, tmp_path, "written.pth"), weights_only=True)
    assert again.keys() == {"model", "__author__", "matching_heuristics", "source"}
    assert not [name for name in again["model"] if "fc" in name or "num_batches" in name or "queue" in name]


# What is wrong with a file, and what must be said


@pytest.mark.parametrize("name", FILES)
def test_a_renamed_key_is_missing_and_named(name, tmp_path):
    """One tensor of the last stage gets a name that no network has; in every layout it must be missed."""

    def spoil(content):
        if not isinstance(content, dict):
            return content
        return {
            str(k).replace("2.conv3.weight", "2.konv3.weight") if k in renamed else k: spoil(v)
            for k, v in content.items()
        }

    content = FILES[name][1](ONLINE, ONLINE)
    renamed = [key for key in _keys(content) if key.endswith(("layer4.2.conv3.weight", "res5.2.conv3.weight"))]
    renamed += [key for key in _keys(content) if key.endswith("7.2.conv3.weight")]
    assert renamed
    with pytest.raises(UserError, match=r"1 missing: (layer4|res5|7)\.2\.conv3\.weight.*1 unexpected: .*konv3"):
        convert_checkpoint(saved(spoil(content), tmp_path))


def test_a_name_that_is_no_part_of_a_detector_either_is_listed(tmp_path):
    state = split_c4(ONLINE) | {"proposal_generator.rpn_head.conv.bias": torch.ones(2), "pixel_mean": torch.ones(3)}
    state["backbone.rez3.0.conv1.weight"] = state.pop("backbone.res3.0.conv1.weight")
    with pytest.raises(
        UserError, match=r"1 missing: res3\.0\.conv1\.weight; 1 unexpected: backbone\.rez3\.0\.conv1\.w"
    ):
        convert_checkpoint(saved({"model": state}, tmp_path))


@pytest.mark.parametrize("name", ["layr2.1.bn2.weight", "extra.weight", "LAYER2.1.bn2.weight"])
def test_a_name_that_is_no_part_of_any_resnet_is_listed_when_one_is_missing(name, tmp_path):
    state = with_projector(ONLINE)
    state[name] = state.pop("layer2.1.bn2.weight")
    path = saved({"state_dict": under("module.encoder.", state)}, tmp_path)
    with pytest.raises(UserError, match=rf"1 missing: layer2\.1\.bn2\.weight; 1 unexpected: encoder\.{name}; it looks"):
        convert_checkpoint(path)
    whole = {"state_dict": under("module.encoder.", with_projector(ONLINE) | {name: torch.ones(3)})}
    assert is_exactly(convert_checkpoint(saved(whole, tmp_path)), ONLINE)


def _keys(content):
    for key, value in content.items():
        yield str(key)
        if isinstance(value, dict):
            yield from _keys(value)


@pytest.mark.parametrize("stage", ["layer1", "layer2", "layer3", "layer4"])
def test_a_dropped_stage_is_named(stage, tmp_path):
    left = {name: tensor for name, tensor in ONLINE.items() if not name.startswith(stage)}
    absent = sum(1 for name in ONLINE if name.startswith(stage) and "num_batches" not in name)
    state = under("module.base_encoder.", left)
    with pytest.raises(UserError) as caught:
        convert_checkpoint(saved({"state_dict": state}, tmp_path))
    message = str(caught.value)
    assert f"{absent} missing: {stage}.* (all {absent}, {stage}.0.conv1.weight to " in message
    assert message.endswith(f"it looks like MoCo v3 with a ResNet-50 without {stage}.")


@pytest.mark.parametrize(
    ("content", "likeness"),
    [
        ({}, "a file without tensors"),
        ({"state_dict": {}}, "a file without tensors"),
        ({"epoch": 3}, "a file without tensors"),
        ({"a": torch.ones(3)}, "no ResNet (it has a, ...)"),
        ([1, 2], "a file without tensors"),
        (torch.ones(3), "no ResNet (it has one tensor, ...)"),
        ({"module": torch.ones(3)}, "no ResNet (it has one tensor, ...)"),
    ],
)
def test_nothing_in_it(content, likeness, tmp_path):
    with pytest.raises(UserError) as caught:
        convert_checkpoint(saved(content, tmp_path))
    assert str(caught.value).endswith(f"holds no ResNet-50: it looks like {likeness}.")


@pytest.mark.parametrize(
    ("name", "likeness"),
    [("resnet34", "ResNet-34"), ("resnet101", "ResNet-101"), ("wide_resnet50_2", "a wide or grouped ResNet-50")],
)
def test_another_resnet_is_named(name, likeness, tmp_path):
    state = getattr(torchvision.models, name)().state_dict()
    with pytest.raises(UserError, match=f"it looks like torchvision.* with {likeness}"):
        convert_checkpoint(saved(state, tmp_path))


def test_a_whole_resnet18_is_named_and_no_detectron2_file(tmp_path):
    path = saved(torchvision.models.resnet18().state_dict(), tmp_path)
    with pytest.raises(UserError, match=r"holds a ResNet-18, and only a ResNet-50 becomes Detectron2 weights"):
        convert_checkpoint(path)
    assert "100 of 100, all shapes right" in inspect_file(path, branch="online", layout=None, trust=False)


def test_a_vision_transformer_is_named(tmp_path):
    state = {"cls_token": torch.ones(1, 1, 8), "blocks.0.attn.qkv.weight": torch.ones(24, 8)}
    with pytest.raises(UserError, match="Vision Transformer"):
        convert_checkpoint(saved({"teacher": state}, tmp_path))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layer1.0.conv2.weight", torch.ones(64, 64, 1, 1), r"1 misshaped: layer1.0.conv2.weight \(64, 64, 1, 1\) ins"),
        ("layer2.0.bn1.running_var", torch.full((128,), float("nan")), r"1 not finite.*: layer2.0.bn1.running_var"),
        ("layer2.0.bn1.weight", torch.full((128,), float("inf")), r"1 not finite.*: layer2.0.bn1.weight"),
        ("layer2.0.bn1.running_var", -torch.ones(128), r"1 negative, which no variance is: layer2.0.bn1.running_var"),
        ("layer2.0.bn1.weight", torch.ones(128, dtype=torch.int64), r"1 not floating point: layer2.0.bn1.weight"),
        (
            "layer1.0.conv1.weight",
            torch.full((64, 64, 1, 1), float("nan")).to_sparse(),
            r"1 not finite.*: layer1.0.conv1",
        ),
        ("layer3.6.conv1.weight", torch.ones(256, 1024, 1, 1), r"1 unexpected: encoder_q.layer3.6.conv1.weight"),
        ("conv1.bias", torch.ones(64), r"1 unexpected: encoder_q.conv1.bias"),
    ],
)
def test_one_wrong_tensor(name, value, message, tmp_path):
    state = under("module.encoder_q.", ONLINE | {name: value})
    with pytest.raises(UserError, match=message):
        convert_checkpoint(saved({"state_dict": state}, tmp_path))


def test_duplicates_with_other_values_are_refused_and_equal_ones_are_not(tmp_path):
    both = under("module.", ONLINE) | {"conv1.weight": MOMENTUM["conv1.weight"]}
    with pytest.raises(UserError, match=r"1 given twice with different values: conv1\.weight"):
        convert_checkpoint(saved(both, tmp_path))
    assert is_exactly(convert_checkpoint(saved(under("module.", ONLINE) | ONLINE, tmp_path)), ONLINE)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(kind, tmp_path):
    state = {name: t.to(kind) if t.is_floating_point() else t for name, t in ONLINE.items()}
    path = saved(state, tmp_path)
    assert is_exactly(convert_checkpoint(path), state)
    assert convert_checkpoint(path)["source"]["dtype"] == str(kind)[6:]
    told = inspect_file(path, branch="online", layout=None, trust=False)
    assert f"{str(kind)[6:]} (converted to float32)" in told


def test_two_nameless_backbones_are_refused_with_the_choices(tmp_path):
    path = saved({"left": without_head(ONLINE), "right": without_head(MOMENTUM)}, tmp_path)
    with pytest.raises(UserError, match=r"--layout at:left or --layout at:right"):
        convert_checkpoint(path)
    content = convert_checkpoint(path, layout="at:right", branch="momentum")
    assert is_exactly(content, MOMENTUM)
    assert (content["source"]["layout"], content["source"]["branch"]) == ("at:right", "momentum")


def test_two_containers_with_the_same_address_are_two_backbones(tmp_path):
    state_dicts = {"state_dict": under("encoder_q.", ONLINE), "model": under("encoder_q.", MOMENTUM)}
    path = saved(state_dicts, tmp_path)
    with pytest.raises(UserError, match="--layout at:state_dict/encoder_q or --layout at:model/encoder_q"):
        convert_checkpoint(path)
    assert is_exactly(convert_checkpoint(path, layout="at:model/encoder_q"), MOMENTUM)
    path = saved({"state_dict": ONLINE, "model": ONLINE}, tmp_path)
    assert is_exactly(convert_checkpoint(path), ONLINE)


def test_a_file_that_holds_itself_ends(tmp_path):
    content = {"state_dict": ONLINE}
    content["again"] = content
    assert is_exactly(convert_checkpoint(saved(content, tmp_path), layout="at:state_dict/"), ONLINE)


def test_one_nameless_backbone_is_not_taken_for_granted(tmp_path):
    path = saved(under("slow_copy.", ONLINE), tmp_path)
    with pytest.raises(
        UserError, match=r"under 'slow_copy\.'; if that is the online branch, choose by --layout at:slow"
    ):
        convert_checkpoint(path)


def test_two_layouts_in_one_file_are_refused_with_the_choices(tmp_path):
    path = saved(under("encoder_q.", ONLINE) | under("backbone.", MOMENTUM), tmp_path)
    with pytest.raises(UserError, match=r"2 backbones for the online branch; choose by --layout .* or --layout"):
        convert_checkpoint(path)
    assert is_exactly(convert_checkpoint(path, layout="moco"), ONLINE)
    assert is_exactly(convert_checkpoint(path, layout="solo-learn"), MOMENTUM)


def test_layouts_that_do_not_fit_or_exist(tmp_path):
    path = saved(MOCO, tmp_path)
    with pytest.raises(UserError, match=r"no backbone where --layout dino keeps it; it has: moco \('encoder_q\.'\)"):
        convert_checkpoint(path, layout="dino")
    with pytest.raises(UserError, match=r"no value 'mocco'; did you mean 'moco'\?"):
        convert_checkpoint(path, layout="mocco")
    with pytest.raises(UserError, match="no backbone where --layout at:elsewhere"):
        convert_checkpoint(path, layout="at:elsewhere")


def test_epochs_are_never_guessed(tmp_path):
    lightning = {"epoch": 399, "pytorch-lightning_version": "1.4", "state_dict": under("backbone.", ONLINE)}
    assert convert_checkpoint(saved(lightning, tmp_path, "checkpoint_0400.pth"))["source"]["epoch"] is None
    numbers = {"epoch": np.int64(200), "state_dict": under("module.encoder_q.", ONLINE)}
    epoch = convert_checkpoint(saved(numbers, tmp_path))["source"]["epoch"]
    assert (epoch, type(epoch)) == (200, int)
    strange = {"epoch": "many", "state_dict": under("module.encoder_q.", ONLINE)}
    assert convert_checkpoint(saved(strange, tmp_path))["source"]["epoch"] is None


def test_projectors_in_the_place_of_the_classifier_do_not_leak(tmp_path):
    state = under("module.encoder.", with_projector(ONLINE))
    assert is_exactly(convert_checkpoint(saved({"state_dict": state}, tmp_path)), ONLINE)


def test_a_numbered_stage_that_is_missing_is_named_by_its_number(tmp_path):
    dropped = ("5.0.conv1", "7.")
    state = {name: tensor for name, tensor in numbered(ONLINE).items() if not name.startswith(dropped)}
    with pytest.raises(UserError, match=r"51 missing: 7\.\* \(all 50, 7\.0.*running_var\), 5\.0\.conv1\.weight"):
        convert_checkpoint(saved({"state_dict": under("backbone.", state)}, tmp_path))


def test_hyper_parameters_that_say_nothing(tmp_path):
    state = under("backbone.", ONLINE)
    told = OmegaConf.create({"method": "???", "max_epochs": "${nowhere}"})
    path = saved({"state_dict": state, "hyper_parameters": told}, tmp_path)
    with pytest.raises(UserError, match=r"names omegaconf\.dictconfig\.DictConfig"):
        convert_checkpoint(path)
    source = convert_checkpoint(path, trust=True)["source"]
    assert (source["method"], source["total_epochs"]) == (None, None)
    unlimited = saved({"state_dict": state, "hyper_parameters": {"max_epochs": -1}}, tmp_path)
    assert convert_checkpoint(unlimited)["source"]["total_epochs"] is None


def test_hyper_parameters_may_be_omegaconf_s_with_trust(tmp_path):
    told = OmegaConf.create({"method": "byol", "max_epochs": 400})
    path = saved({"state_dict": under("backbone.", ONLINE), "hyper_parameters": told}, tmp_path)
    source = convert_checkpoint(path, trust=True)["source"]
    assert (source["method"], source["total_epochs"]) == ("byol", 400)


def test_hyper_parameters_may_be_a_namespace(tmp_path):
    content = FILES["lightly"][1](ONLINE, MOMENTUM) | {"hyper_parameters": argparse.Namespace(max_epochs=800)}
    assert convert_checkpoint(saved(content, tmp_path))["source"]["total_epochs"] == 800
