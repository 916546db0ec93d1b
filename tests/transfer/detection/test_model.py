"""Tests of transfer/detection/model.py: the numeric proof for C4 and FPN, the proof of loading, the extra norm.

The numeric proof catches wrong names, wrong order of channels, wrong normalisation and a stride in the wrong
convolution at once: torchvision's own network and the detector see the same photograph.
"""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from detectron2 import model_zoo
from detectron2.structures import Boxes
from PIL import Image

from benchmark.core.errors import RunFailed, UserError
from benchmark.core.folder import ROOT
from tests.transfer.checkpoints.layout_files import network, under
from transfer.checkpoints.convention import RGB
from transfer.convert import convert_checkpoint
from transfer.detection.model import (
    backbone_tensors,
    build_detector,
    fingerprint,
    load_weights,
    load_whole_detector,
    norm_kinds,
)
from transfer.detection.model import prove_backbone as prove
from transfer.protocols.resolve import resolve_protocol

PHOTOGRAPH = ROOT / "benchmark/embedded/pack/backgrounds/lighthouse.jpg"
PATCH = 64  # px: side of the photograph in the tests


def config(kind, norm="BN", convention=RGB):
    """Return the Detectron2 config of a Mask R-CNN, ``C4`` (with extra norm) or ``FPN``, as the protocols set it."""
    cfg = model_zoo.get_config(f"COCO-InstanceSegmentation/mask_rcnn_R_50_{kind}_1x.yaml")
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.RESNETS.NORM = norm
    convention.apply(cfg)
    if kind == "C4":
        cfg.MODEL.ROI_HEADS.NAME = "Res5ROIHeadsExtraNorm"
    return cfg


def photograph():
    """Return a photograph (3, 64, 64), RGB, 0 to 255."""
    image = Image.open(PHOTOGRAPH).convert("RGB").resize((PATCH, PATCH), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


def features_of_torchvision(state, image):
    """Return layer1..layer4's outputs of torchvision's network, its own normalisation included."""
    model = torchvision.models.resnet50()
    model.load_state_dict(state)
    model.eval()
    means, deviations = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    x = torchvision.transforms.functional.normalize(image / 255, means, deviations)[None]
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    outputs = []
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        outputs.append(x := layer(x))
    return outputs


def features_of_detector(model, image):
    """Return res2..res5's outputs of a detector, from the photograph as Detectron2's data loader would hand it over."""
    if model.input_format == "BGR":
        image = image.flip(0)
    batch = model.preprocess_image([{"image": image}]).tensor
    bottom_up = getattr(model.backbone, "bottom_up", model.backbone)
    outputs, x = [], bottom_up.stem(batch)
    for stage in ("res2", "res3", "res4"):
        outputs.append(x := getattr(bottom_up, stage)(x))
    res5 = getattr(bottom_up, "res5", None)
    return [*outputs, res5(x) if res5 is not None else torch.nn.Sequential(*list(model.roi_heads.res5)[:3])(x)]


def trained_a_little(state):
    """Return a network after three steps in train mode: weights and running statistics have moved."""
    model = torchvision.models.resnet50()
    model.load_state_dict(state)
    optimiser = torch.optim.SGD(model.parameters(), 0.01)
    torch.manual_seed(3)
    for _ in range(3):
        loss = model(torch.randn(4, 3, 64, 64) * 2 + 1).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    moved = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    assert not torch.allclose(moved["layer3.0.bn1.running_mean"], state["layer3.0.bn1.running_mean"], atol=1e-3)
    return moved


@pytest.fixture(scope="module", params=["as made", "trained"])
def state(request):
    return network(0) if request.param == "as made" else trained_a_little(network(0))


@pytest.fixture(scope="module")
def converted(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("moco") / "moco.pth.tar"
    torch.save({"state_dict": under("module.encoder_q.", state), "epoch": 1}, path)
    content = convert_checkpoint(path)
    path.unlink()
    return content


@pytest.mark.parametrize("kind", ["C4", "FPN"])
@torch.no_grad()
def test_a_converted_network_gives_torchvision_s_features(kind, state, converted):
    model = build_detector(config(kind)).eval()
    assert load_weights(model, converted) == 265
    expected, found = features_of_torchvision(state, photograph()), features_of_detector(model, photograph())
    for stage, (ours, theirs) in enumerate(zip(found, expected, strict=True), start=2):
        assert theirs.std() > 0.01, "features without any signal would prove nothing"
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4, msg=lambda text, s=stage: f"res{s}: {text}")


@pytest.mark.parametrize("spoil", ["BGR", "std", "stride", "statistics"])
@torch.no_grad()
def test_the_proof_notices_a_wrong_convention(spoil, converted, state):
    cfg = config("FPN")
    if spoil == "BGR":
        cfg.INPUT.FORMAT = "BGR"
    elif spoil == "std":
        cfg.MODEL.PIXEL_STD = [1.0, 1.0, 1.0]
    elif spoil == "stride":
        cfg.MODEL.RESNETS.STRIDE_IN_1X1 = True
    model = build_detector(cfg).eval()
    load_weights(model, converted)
    if spoil == "statistics":
        for name, tensor in backbone_tensors(model).items():
            if ".running_" in name:
                tensor.fill_(float(name.endswith("running_var")))
    pairs = zip(features_of_detector(model, photograph()), features_of_torchvision(state, photograph()), strict=True)
    assert max(float((ours - theirs).abs().max()) for ours, theirs in pairs) > 0.01


def test_where_res5_is(converted):
    for kind, place in (("C4", "roi_heads.res5."), ("FPN", "backbone.bottom_up.res5.")):
        model = build_detector(config(kind))
        names = [n for n in model.state_dict() if n.startswith(place) and "num_batches" not in n]
        assert len([name for name in names if not name.startswith(place + "norm")]) == 50
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        load_weights(model, converted)
        changed = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
        assert len(changed) == 265, "heads must keep their own weights"
        assert len(changed & set(names)) == 50


def test_loading_that_leaves_one_tensor_behind_stops_the_run(converted):
    model = build_detector(config("C4"))
    load_weights(model, converted)
    held = backbone_tensors(model)
    assert prove(model, converted) == len(held) == 265
    for name in ("stem.conv1.weight", "res5.2.conv3.norm.running_var", "res4.5.conv2.norm.bias"):
        kept = held[name].clone()
        with torch.no_grad():
            held[name].view(-1)[0].add_(1e-3)
        with pytest.raises(RunFailed, match=rf"264 of 265 .*others: {name}"):
            prove(model, converted)
        with torch.no_grad():
            held[name].copy_(kept)
    assert prove(model, converted) == 265
    without = {**converted, "model": {n: t for n, t in converted["model"].items() if not n.startswith("res3.")}}
    with pytest.raises(RunFailed, match=r"others: res3\.0"):
        load_weights(model, without)


def test_names_that_detectron2_does_not_match_stop_the_run(converted):
    """Without this proof Detectron2 trains from random weights after one warning."""
    strange = {**converted, "model": {"module.encoder." + n + "_": t for n, t in converted["model"].items()}}
    with pytest.raises(RunFailed, match="0 of 265"):
        load_weights(build_detector(config("FPN")), strange)


@pytest.mark.parametrize("junk", [{}, {"a": "text"}, {"a": None, "b": {"stem.conv1.weight": torch.ones(1)}}])
def test_a_detector_of_junk_is_a_mistake_told_in_a_sentence(junk):
    with pytest.raises(UserError, match=r"bad\.pth is no detector of this protocol and data: \d+ missing"):
        load_whole_detector(build_detector(config("FPN")), {"model": junk}, "bad.pth")


def test_a_fingerprint_sees_shape_and_value():
    one = torch.arange(6.0)
    assert fingerprint(one) == fingerprint(one.clone().double())
    assert len({fingerprint(t) for t in (one, one.view(2, 3), one + 1e-6, one.flip(0))}) == 4


@pytest.mark.parametrize(("kind", "count"), [("C4", 54), ("FPN", 53)])
def test_the_extra_norm_and_what_norm_runs(kind, count):
    assert norm_kinds(build_detector(config(kind))) == {"BatchNorm2d": count}
    assert norm_kinds(build_detector(config(kind, norm="naiveSyncBN"))) == {"NaiveSyncBatchNorm": count}
    assert norm_kinds(build_detector(config(kind, norm="FrozenBN"))) == {"FrozenBatchNorm2d": count}


def test_the_extra_norm_comes_after_res5():
    model = build_detector(config("C4")).eval()
    children = list(model.roi_heads.res5.named_children())
    assert [name for name, _ in children] == ["0", "1", "2", "norm"]
    assert children[-1][1].num_features == 2048
    x = torch.randn(2, 1024, 4, 4)
    children[-1][1].weight.data.fill_(3.0)
    blocks = torch.nn.Sequential(*[child for _, child in children[:3]])
    torch.testing.assert_close(model.roi_heads.res5(x), children[-1][1](blocks(x)))
    assert not torch.allclose(model.roi_heads.res5(x), blocks(x))


def test_a_fresh_process_builds_the_extra_norm_and_trains_a_step():
    """Pitfall 13: the class exists for Detectron2 only once this module was imported; and a step must go through."""
    program = (
        "import torch; from tests.transfer.detection.test_model import config\n"
        "from transfer.detection.model import build_detector\n"
        "from detectron2.structures import BitMasks, Boxes, Instances\n"
        "from detectron2.utils.events import EventStorage\n"
        "cfg = config('C4'); cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 4\n"
        "model = build_detector(cfg).train(); target = Instances((64, 64))\n"
        "target.gt_boxes = Boxes(torch.tensor([[8., 8., 40., 40.]])); target.gt_classes = torch.tensor([1])\n"
        "target.gt_masks = BitMasks(torch.ones(1, 64, 64, dtype=torch.bool))\n"
        "with EventStorage():\n"
        "    losses = model([{'image': torch.zeros(3, 64, 64), 'instances': target, 'height': 64, 'width': 64}])\n"
        "sum(losses.values()).backward(); assert model.roi_heads.res5.norm.weight.grad is not None\n"
        "print(sorted(losses))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "loss_mask" in done.stdout


def test_boxes_stay_exact_under_bf16_autocast():
    """Detectron2 casts boxes to its features' dtype; bf16 keeps 8 bits of a coordinate."""
    torch.manual_seed(0)
    model = build_detector(resolve_protocol("embedded", family="random", convention=RGB).cfg).eval()
    corners = torch.rand(200, 2) * 100
    boxes = [Boxes(torch.cat([corners, corners + 4 + torch.rand(200, 2) * 40], 1))]
    with torch.no_grad():
        features = model.backbone(torch.rand(1, 3, 128, 128) * 255)
        levels = [features[name] for name in model.roi_heads.in_features]
        exact = model.roi_heads.box_pooler(levels, boxes)
        with torch.autocast("cpu", torch.bfloat16):
            pooled = model.roi_heads.box_pooler([level.bfloat16() for level in levels], boxes)
    assert (pooled - exact).pow(2).mean().sqrt() < 0.01 * exact.std()  # 0.03 with rounded boxes


def test_naive_sync_bn_takes_its_statistics_in_float32():
    """E[x^2] - E[x]^2 in bf16 is 0 for a channel of mean 30 and variance 1."""
    cfg = resolve_protocol("embedded", family="random", convention=RGB, world_size=2).cfg
    norm = build_detector(cfg).backbone.bottom_up.stem.conv1.norm
    taken = []
    norm.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))  # it comes after the one that casts
    x = torch.randn(4, 64, 8, 8) + 30
    norm(x.bfloat16())
    (seen,) = taken
    assert type(norm).__name__ == "NaiveSyncBatchNorm"
    assert seen.dtype == torch.float32
    variance = seen.square().mean((0, 2, 3)) - seen.mean((0, 2, 3)).square()
    assert torch.allclose(variance, x.var((0, 2, 3), correction=0), atol=0.1)
