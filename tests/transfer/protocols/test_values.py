"""The effective values of every protocol.

Expected values are literals from the papers' configs (MoCo, PyContrast) and from the configs that Detectron2 itself
ships; none is read from the files under test.
"""

import json
import subprocess
import sys

import pytest
import torch
from detectron2 import model_zoo
from detectron2.solver import build_optimizer

from benchmark.core.folder import ROOT
from tests.transfer.protocols.resolving import (
    CONVENTIONS,
    NORM,
    resolve,
)
from transfer.protocols.files import leaves
from transfer.protocols.names import PROTOCOLS
from transfer.protocols.norms import NORM_OF

SIX_SIZES = (640, 672, 704, 736, 768, 800)
VOC_SIZES = (480, 512, 544, 576, 608, *SIX_SIZES)
C4_HEAD, FPN_HEAD = "Res5ROIHeadsExtraNorm", "StandardROIHeads"
# steps, max_iter, warm-up, batch, sizes of training, of test, RoI heads, RPN test pre / post, PreciseBN, bf16, masks
SCHEDULE = {
    "coco-c4-1x": ((60000, 80000), 90000, 1000, 16, SIX_SIZES, 800, C4_HEAD, 6000, 1000, True, False, True),
    "coco-c4-2x": ((120000, 160000), 180000, 1000, 16, SIX_SIZES, 800, C4_HEAD, 6000, 1000, True, False, True),
    "coco-fpn-1x": ((60000, 80000), 90000, 1000, 16, SIX_SIZES, 800, FPN_HEAD, 1000, 1000, True, False, True),
    "coco-fpn-2x": ((120000, 160000), 180000, 1000, 16, SIX_SIZES, 800, FPN_HEAD, 1000, 1000, True, False, True),
    "coco-fpn-4conv-1x": ((60000, 80000), 90000, 1000, 16, SIX_SIZES, 800, FPN_HEAD, 1000, 1000, True, False, True),
    "voc-c4-24k": ((18000, 22000), 24000, 100, 16, VOC_SIZES, 800, C4_HEAD, 6000, 1000, True, False, False),
    "embedded": ((), 120, 20, 4, (128,), 128, FPN_HEAD, 500, 100, False, True, True),
    "embedded-voc": ((), 120, 20, 4, (128,), 128, FPN_HEAD, 500, 100, False, True, False),
}


@pytest.mark.parametrize("family", CONVENTIONS)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_effective_values(name, family):
    protocol = resolve(name, family)
    steps, max_iter, warmup, batch, train, test, heads, pre, post, precise, bf16, masks = SCHEDULE[name]
    rgb = family != "msra"
    expected = {
        "SOLVER.STEPS": steps,
        "SOLVER.MAX_ITER": max_iter,
        "SOLVER.WARMUP_ITERS": warmup,
        "SOLVER.WARMUP_FACTOR": 0.001,
        "SOLVER.IMS_PER_BATCH": batch,
        "SOLVER.BASE_LR": 0.02,
        "SOLVER.GAMMA": 0.1,
        "SOLVER.MOMENTUM": 0.9,
        "SOLVER.WEIGHT_DECAY": 0.0001,
        "SOLVER.REFERENCE_WORLD_SIZE": 0,
        "SOLVER.AMP.ENABLED": bf16,
        "INPUT.MIN_SIZE_TRAIN": train,
        "INPUT.MAX_SIZE_TRAIN": 1333,
        "INPUT.MIN_SIZE_TEST": test,
        "INPUT.MAX_SIZE_TEST": 1333,
        "INPUT.FORMAT": "RGB" if rgb else "BGR",
        "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53] if rgb else [103.53, 116.28, 123.675],
        "MODEL.PIXEL_STD": [58.395, 57.12, 57.375] if rgb else [1.0, 1.0, 1.0],
        "MODEL.RESNETS.STRIDE_IN_1X1": not rgb,
        "MODEL.RESNETS.DEPTH": 50,
        "MODEL.BACKBONE.FREEZE_AT": 0,
        "MODEL.ROI_HEADS.NAME": heads,
        "MODEL.MASK_ON": masks,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": pre,
        "MODEL.RPN.POST_NMS_TOPK_TEST": post,
        "MODEL.WEIGHTS": "",
        "TEST.DETECTIONS_PER_IMAGE": 100,
        "TEST.PRECISE_BN.ENABLED": precise,
        "TEST.PRECISE_BN.NUM_ITER": 200,
    }
    expected |= {key: norm.replace("S", "BN") for key, norm in zip(NORM_OF, NORM[name], strict=True)}
    effective = leaves(protocol.cfg)
    assert {key: effective[key] for key in expected} == expected
    assert protocol.norm == "BN"
    assert protocol.cfg.is_frozen()
    assert (protocol.name, protocol.task, protocol.lr_chosen_by) == (name, PROTOCOLS[name], "protocol")
    assert (protocol.overrides, protocol.arithmetic) == ({}, ())


def test_heads_of_the_fpn_protocols():
    two_fc, four_conv = resolve("coco-fpn-1x").cfg.MODEL, resolve("coco-fpn-4conv-1x").cfg.MODEL
    assert (two_fc.ROI_BOX_HEAD.NAME, four_conv.ROI_BOX_HEAD.NAME) == ("FastRCNNConvFCHead",) * 2
    assert (two_fc.ROI_BOX_HEAD.NUM_CONV, two_fc.ROI_BOX_HEAD.NUM_FC) == (0, 2)
    assert (four_conv.ROI_BOX_HEAD.NUM_CONV, four_conv.ROI_BOX_HEAD.NUM_FC) == (4, 1)


def test_embedded_settings_known_to_work():
    cfg = resolve("embedded").cfg
    assert cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupCosineLR"
    assert cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE == 64
    assert cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN > cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE
    layer = torch.nn.Linear(4, 4)
    optimiser = build_optimizer(cfg, layer)  # Detectron2 knows no clipping type but value and norm
    (layer(torch.full((1, 4), 1e4)) ** 2).sum().backward()
    optimiser.step()
    assert layer.weight.grad.norm() <= 1.0 + 1e-4


# Against the configs that Detectron2 ships. {key: (theirs, ours)}, everything else is equal.
WHERE = {
    "MODEL.WEIGHTS": ("detectron2://ImageNetPretrained/MSRA/R-50.pkl", ""),
    "MODEL.DEVICE": ("cuda", "cpu"),
    "OUTPUT_DIR": ("./output", ""),
    "SEED": (-1, 0),
}
COCO = {"DATASETS.TRAIN": (("coco_2017_train",), ()), "DATASETS.TEST": (("coco_2017_val",), ())}
VOC = {
    "DATASETS.TRAIN": (("voc_2007_trainval", "voc_2012_trainval"), ()),
    "DATASETS.TEST": (("voc_2007_test",), ()),
}
TRAINED = {
    "MODEL.BACKBONE.FREEZE_AT": (2, 0),
    "MODEL.RESNETS.NORM": ("FrozenBN", "naiveSyncBN"),
    "TEST.PRECISE_BN.ENABLED": (False, True),
}
EXTRA_NORM = {"MODEL.ROI_HEADS.NAME": ("Res5ROIHeads", "Res5ROIHeadsExtraNorm")}
FPN_NORM = {"MODEL.FPN.NORM": ("", "naiveSyncBN")}
TWICE = {"SOLVER.STEPS": ((60000, 80000), (120000, 160000)), "SOLVER.MAX_ITER": (90000, 180000)}
SYNC_WORD = dict.fromkeys(NORM_OF, ("SyncBN", "naiveSyncBN"))
SHIPPED = {
    "coco-c4-1x": ("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml", COCO | TRAINED | EXTRA_NORM),
    "coco-c4-2x": ("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml", COCO | TRAINED | EXTRA_NORM | TWICE),
    "coco-fpn-1x": ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml", COCO | TRAINED | FPN_NORM),
    "coco-fpn-2x": ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml", COCO | TRAINED | FPN_NORM | TWICE),
    "coco-fpn-4conv-1x": (
        "Misc/mask_rcnn_R_50_FPN_3x_syncbn.yaml",
        COCO
        | SYNC_WORD
        | {
            "MODEL.BACKBONE.FREEZE_AT": (2, 0),
            "SOLVER.STEPS": ((210000, 250000), (60000, 80000)),
            "SOLVER.MAX_ITER": (270000, 90000),
        },
    ),
    "voc-c4-24k": (
        "PascalVOC-Detection/faster_rcnn_R_50_C4.yaml",
        VOC
        | TRAINED
        | EXTRA_NORM
        | {"SOLVER.STEPS": ((12000, 16000), (18000, 22000)), "SOLVER.MAX_ITER": (18000, 24000)},
    ),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_differs_from_detectron2s_own_config_in_the_listed_keys_alone(name):
    file, expected = SHIPPED[name]
    theirs = leaves(model_zoo.get_config(file))
    ours = leaves(resolve(name, "msra", world_size=8).cfg)  # MSRA's convention is Detectron2's default
    assert ours.keys() == theirs.keys()
    assert {key: (theirs[key], ours[key]) for key in ours if ours[key] != theirs[key]} == WHERE | expected


# Detectron2 builds each of them, in a process that imports the protocols and the builder alone.
BUILD = """
import json, sys
from transfer.checkpoints.convention import RGB
from transfer.protocols.names import PROTOCOLS
from transfer.protocols.resolve import resolve_protocol
from transfer.detection.model import build_detector, norm_kinds
found = {}
for name in PROTOCOLS:
    for world in (1, 2) if name in ("coco-c4-1x", "coco-fpn-4conv-1x") else (1,):
        cfg = resolve_protocol(name, family="checkpoint", convention=RGB, world_size=world).cfg
        model = build_detector(cfg)
        extra = hasattr(getattr(model.roi_heads, "res5", None), "norm")
        trained = all(parameter.requires_grad for parameter in model.parameters())
        found[f"{name} {world}"] = [norm_kinds(model), extra, trained]
json.dump(found, sys.stdout)
"""
# 53 in a ResNet-50; one more after res5; 8 in the FPN (4 lateral, 4 output); 4 in the box head and 4 in the mask head.
NORM_LAYERS = {
    "coco-c4-1x": 54,
    "coco-c4-2x": 54,
    "coco-fpn-1x": 61,
    "coco-fpn-2x": 61,
    "coco-fpn-4conv-1x": 69,
    "voc-c4-24k": 54,
    "embedded": 53,
    "embedded-voc": 53,
}


def test_every_protocol_builds_in_a_fresh_process():
    command = [sys.executable, "-W", "ignore", "-c", BUILD]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    expected = {f"{name} 1": [{"BatchNorm2d": layers}, "-c4-" in name, True] for name, layers in NORM_LAYERS.items()}
    expected["coco-c4-1x 2"] = [{"NaiveSyncBatchNorm": 54}, True, True]
    expected["coco-fpn-4conv-1x 2"] = [{"NaiveSyncBatchNorm": 69}, False, True]
    assert found == expected
