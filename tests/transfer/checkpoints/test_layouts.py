"""Tests of transfer/checkpoints/layouts.py, finding.py and namings.py: names, addresses, and telling layouts apart."""

import itertools
import re

import pytest
import torch
import torchvision

from tests.transfer.checkpoints.layout_files import FILES, detectron2, light, numbered, under, without_head
from tests.transfer.checkpoints.project_files import PROJECTS
from transfer.checkpoints.contents import Contents
from transfer.checkpoints.detectron2_form import detectron2_name
from transfer.checkpoints.finding import find_candidates, unwrapped_name
from transfer.checkpoints.layouts import BY_NAME
from transfer.checkpoints.likeness import looks_like
from transfer.checkpoints.namings import NAMINGS
from transfer.checkpoints.resnet import expected_shapes, shorten

STATE = light(0)


def test_a_backbone_has_265_tensors():
    convolutions = [name for name, shape in expected_shapes().items() if len(shape) == 4]
    assert (len(convolutions), len(expected_shapes())) == (53, 53 + 53 * 4)
    assert all(tuple(STATE[name].shape) == shape for name, shape in expected_shapes().items())


def test_detectron2_names_equal_those_written_by_hand():
    assert {detectron2_name(name) for name in expected_shapes()} == detectron2(STATE).keys()
    assert len([name for name in detectron2(STATE) if name.startswith("res5.")]) == 50


@pytest.mark.parametrize("naming", NAMINGS, ids=lambda naming: naming.name)
def test_namings_go_there_and_back(naming):
    for name in expected_shapes():
        if naming.name == "caffe2" and ".running_" in name:
            continue  # folded into scale and shift, so that the file has none
        own = naming.own_name(name)
        assert naming.to_torchvision(own) == name
        assert naming.split(f"some.place.{own}") == ("some.place", own)
        first = next(other for other in NAMINGS if other.split(f"some.place.{own}"))
        assert first.name == naming.name, own


def test_numbers_equal_those_written_by_hand():
    naming = next(naming for naming in NAMINGS if naming.name == "numbered")
    assert {naming.own_name(n) for n in expected_shapes()} == {n for n in numbered(STATE) if "num_batches" not in n}


WRAPPERS = ("", *(".".join(w) for n in (1, 2, 3) for w in itertools.product(("module", "_orig_mod"), repeat=n)))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_in_any_order_and_depth(wrapper):
    dotted = wrapper + "." if wrapper else ""
    name = f"{dotted}encoder_q.{dotted}layer1.{dotted}0.conv1.weight"
    assert unwrapped_name(("state_dict", name)) == "encoder_q.layer1.0.conv1.weight"


def test_a_tensor_called_like_a_container_keeps_its_name():
    assert unwrapped_name(("state_dict", "model")) == "model"


def test_every_layout_of_the_table_has_a_file_in_these_tests():
    projects = {found[0] for project in PROJECTS for found in (project.online, project.momentum) if found}
    found = {layout for layout, *_ in FILES.values()} | projects | {"pretrain-backbone", "msra"}
    assert found >= BY_NAME.keys()


def test_optimiser_states_are_no_backbone():
    average = {"optimizer": {"averages": without_head(STATE)}, "state_dict": under("module.encoder_q.", STATE)}
    assert [backbone.address for backbone in find_candidates(Contents(average, "torch", {}))] == ["encoder_q"]


def test_names_are_listed_by_stage_when_a_whole_one_is_absent():
    names = [name for name in expected_shapes() if name.startswith("layer4.")]
    text = shorten(["conv1.weight", *names])
    assert text == "layer4.* (all 50, layer4.0.conv1.weight to layer4.2.bn3.running_var), conv1.weight"
    assert shorten([f"a{i}" for i in range(15)]).endswith("a11, and 3 more")


def _shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "likeness"),
    [
        ("resnet18", "ResNet-18"),
        ("resnet34", "ResNet-34"),
        ("resnet50", "ResNet-50"),
        ("resnet101", "ResNet-101"),
        ("resnet152", "ResNet-152"),
        ("wide_resnet50_2", "a wide or grouped ResNet-50 (first block 128 channels wide)"),
        ("resnext50_32x4d", "a wide or grouped ResNet-50 (first block 128 channels wide)"),
        ("vit_b_16", "a Vision Transformer (ViT)"),
        ("swin_t", "a Swin Transformer"),
        ("convnext_tiny", "a ConvNeXt or similar"),
        ("alexnet", "an AlexNet or VGG"),
        ("vgg11", "an AlexNet or VGG"),
        ("mobilenet_v2", "no ResNet (it has features.0.0.weight, features.0.1.weight, features.0.1.bias, ...)"),
    ],
)
def test_what_a_file_looks_like(name, likeness):
    with torch.device("meta"):
        assert looks_like(_shapes(getattr(torchvision.models, name)())) == likeness


def test_likeness_of_odd_files():
    assert looks_like({}) == "a file without tensors"
    assert "msra:FILE" in looks_like({"conv1_w": (64, 3, 7, 7), "res2_0_branch2a_w": (64, 64, 1, 1)})
    partial = {name: shape for name, shape in expected_shapes().items() if not name.startswith("layer3")}
    assert looks_like(partial) == "a ResNet-50 without layer3"
    assert looks_like({"fc.weight": (3, 4)}).startswith("no ResNet")
    assert looks_like({"features.0.weight": (64, 3, 3, 3)}).startswith("no ResNet")  # a VGG's first convolution alone
    deep = {name: shape for name, shape in expected_shapes().items() if name != "conv1.weight"}
    assert "3x3 stem" in looks_like(deep | {"conv1.0.weight": (32, 3, 3, 3)})


def _renamed(shapes, naming):
    """Return the shapes of a torchvision ResNet under names that count its stages from 2 (``res2``) or 4 (``4``)."""
    begin = {"res": 2, "": 4}[naming]
    found = {re.sub(r"layer(\d)", lambda n: f"{naming}{int(n[1]) + begin - 1}", name): s for name, s in shapes.items()}
    assert len(found) == len(shapes)
    return found


@pytest.mark.parametrize("naming", ["res", ""])
@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "resnet101"])
def test_likeness_in_other_names(arch, naming):
    with torch.device("meta"):
        shapes = _shapes(getattr(torchvision.models, arch)())
    assert looks_like(_renamed(shapes, naming)) == f"ResNet-{arch.removeprefix('resnet')}"
    (first, second), last = (4, 5) if naming == "" else ("res2", "res3"), 7 if naming == "" else "res5"
    for absent, stage in ((first, 1), (second, 2), (last, 4)):
        partial = {n: s for n, s in _renamed(shapes, naming).items() if not n.startswith(f"{absent}.")}
        kind = "18 or 34" if arch == "resnet18" else "50"
        assert looks_like(partial) == f"a ResNet-{kind} without layer{stage}"


@pytest.mark.parametrize(
    ("inside", "outside", "said"),
    [
        (64, 32, "a grouped ResNet-50 (ResNeXt)"),
        (65, 65, "a wide or grouped ResNet-50 (first block 65 channels wide)"),
        (64, 64, "ResNet-50"),
    ],
)
def test_likeness_by_the_width_of_the_first_block(inside, outside, said):
    assert looks_like(expected_shapes() | {"layer1.0.conv2.weight": (inside, outside, 3, 3)}) == said
    shallow = expected_shapes("resnet18") | {"layer1.0.conv2.weight": (inside, outside, 3, 3)}
    assert looks_like(shallow) == "ResNet-18"


def test_likeness_of_other_depths():
    more = {"layer4.3.conv1.weight": (512, 2048, 1, 1)}
    assert looks_like(expected_shapes() | more) == "a ResNet with (3, 4, 6, 4) blocks"
    assert looks_like({"layer2.0.conv1.weight": (1, 1, 3, 3)}) == "a ResNet-18 or 34 without layer1, layer3, layer4"
