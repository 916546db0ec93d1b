"""Tests of transfer/protocols/resolve.py and protocols/*.yaml: the effective values, and what must be refused.

Expected values are literals from the papers' configs (MoCo, PyContrast) and from the configs that Detectron2 itself
ships; none is read from the files under test.
"""

import json
import subprocess
import sys
from operator import attrgetter
from types import SimpleNamespace

import pytest
import torch
import yaml
from detectron2 import model_zoo
from detectron2.config import get_cfg
from detectron2.solver import build_lr_scheduler, build_optimizer

from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from transfer.checkpoints.initialisation import MSRA_BGR, RGB
from transfer.protocols.resolve import (
    DECIDED_BY,
    FOLDER,
    NORM_OF,
    PROTOCOLS,
    describe,
    dump,
    leaves,
    load_protocol_file,
    resolve_protocol,
)

CONVENTIONS = {"checkpoint": RGB, "random": RGB, "detectron2-random": RGB, "torchvision": RGB, "msra": MSRA_BGR}
COCO_IMAGES, VOC_IMAGES = 117_266, 16_551  # training images with an object

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
# norm of backbone, FPN, box head, mask head: S where the protocol says synchronised
NORM = {
    **dict.fromkeys(["coco-c4-1x", "coco-c4-2x", "voc-c4-24k", "embedded", "embedded-voc"], ("S", "", "", "")),
    **dict.fromkeys(["coco-fpn-1x", "coco-fpn-2x"], ("S", "S", "", "")),
    "coco-fpn-4conv-1x": ("S", "S", "S", "S"),
}


def resolve(name="coco-c4-1x", family="checkpoint", **options):
    """Resolve a protocol for weights of a family."""
    return resolve_protocol(name, family=family, convention=CONVENTIONS[family], **options)


def data(task="coco", **changes):
    """Return what protocol.py reads of a DetectionData, with COCO's (VOC's) real numbers."""
    values = {
        "coco": {"class_names": tuple(map(str, range(80))), "mask_format": "polygon", "train_images": COCO_IMAGES},
        "voc": {"class_names": tuple(map(str, range(20))), "mask_format": "none", "train_images": VOC_IMAGES},
    }[task]
    names = {"task": task, "train": ("a_train", "b_train"), "test": ("a_val",), "test_images": 5000}
    return SimpleNamespace(**(names | values | changes))


def norms(protocol):
    """Return the norms of backbone, FPN, box head and mask head."""
    return tuple(attrgetter(key)(protocol.cfg) for key in NORM_OF)


def refused(*parts, **options):
    """Assert that resolving is refused in one sentence that holds all `parts`."""
    with pytest.raises(UserError) as error:
        resolve(**options)
    message = str(error.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message
    return message


# Effective values


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


# Schedules


@pytest.mark.parametrize("name", PROTOCOLS)
def test_last_milestone_and_warmup_lie_before_the_end(name):
    solver = resolve(name).cfg.SOLVER
    assert max(solver.STEPS, default=0) < solver.MAX_ITER
    assert min([*solver.STEPS, solver.MAX_ITER]) > solver.WARMUP_ITERS


@pytest.mark.parametrize(
    ("name", "images", "epochs"),
    [
        ("coco-c4-1x", COCO_IMAGES, 12.3),
        ("coco-c4-2x", COCO_IMAGES, 24.6),
        ("coco-fpn-4conv-1x", COCO_IMAGES, 12.3),
        ("voc-c4-24k", VOC_IMAGES, 23.2),
    ],
)
def test_epochs(name, images, epochs):
    solver = resolve(name).cfg.SOLVER
    assert round(solver.MAX_ITER * solver.IMS_PER_BATCH / images, 1) == epochs
    assert f"= {epochs} epochs" in describe(resolve(name), data(PROTOCOLS[name]))


def lr_at(cfg, share):
    """Return Detectron2's own learning rate at a share of the training."""
    scheduler = build_lr_scheduler(cfg, build_optimizer(cfg, torch.nn.Linear(1, 1)))
    scheduler.last_epoch = round(share * cfg.SOLVER.MAX_ITER)
    return scheduler.get_lr()[0]


@pytest.mark.parametrize("gpus", [8, 4, 2, 1])  # with two images each, as the 8 of the protocols have
@pytest.mark.parametrize("name", ["coco-c4-1x", "coco-fpn-2x", "voc-c4-24k"])
def test_fewer_gpus_keep_epochs_and_lr_per_image(name, gpus):
    full, less = resolve(name, world_size=8), resolve(name, world_size=gpus, ims_per_batch=2 * gpus)
    assert less.cfg.SOLVER.IMS_PER_BATCH // gpus == 2

    def images_seen(protocol):  # until each event of the schedule
        solver = protocol.cfg.SOLVER
        events = (solver.MAX_ITER, solver.WARMUP_ITERS, protocol.cfg.TEST.PRECISE_BN.NUM_ITER, *solver.STEPS)
        return [iterations * solver.IMS_PER_BATCH for iterations in events]

    assert images_seen(less) == images_seen(full)
    lr_per_image = [protocol.cfg.SOLVER.BASE_LR / protocol.cfg.SOLVER.IMS_PER_BATCH for protocol in (full, less)]
    assert lr_per_image == pytest.approx([0.02 / 16] * 2, rel=1e-12)
    for share in (0.001, 0.005, 0.3, 0.7, 0.9, 0.95):
        per_image = [lr_at(p.cfg, share) / p.cfg.SOLVER.IMS_PER_BATCH for p in (full, less)]
        assert per_image[0] == pytest.approx(per_image[1], rel=1e-9)
    assert bool(less.arithmetic) == (gpus < 8)


def test_the_arithmetic_is_printed():
    protocol = resolve("coco-c4-1x", ims_per_batch=4)
    assert protocol.arithmetic == (
        "batch 16 / 4 = 4",
        "lr 0.02 / 4 = 0.005",
        "steps 60000, 80000 x 4 = 240000, 320000",
        "iterations 90000 x 4 = 360000",
        "warm-up 1000 x 4 = 4000",
        "PreciseBN 200 x 4 = 800",
    )
    assert protocol.cfg.SOLVER.STEPS == (240000, 320000)
    assert protocol.cfg.SOLVER.BASE_LR == 0.005  # not 0.00500000001
    assert (protocol.lr_chosen_by, protocol.overrides) == ("protocol", {})
    for line in protocol.arithmetic:
        assert line in describe(protocol, data())


def test_a_larger_batch_is_rescaled_too():
    solver = resolve("coco-fpn-1x", ims_per_batch=32).cfg.SOLVER
    assert (solver.BASE_LR, solver.STEPS, solver.MAX_ITER, solver.WARMUP_ITERS) == (0.04, (30000, 40000), 45000, 500)
    embedded = resolve("embedded", ims_per_batch=8).cfg.SOLVER
    assert (embedded.BASE_LR, embedded.MAX_ITER, embedded.WARMUP_ITERS) == (0.04, 60, 10)


def test_the_protocols_own_batch_changes_nothing():
    assert resolve(ims_per_batch=16) == resolve()


def test_indivisible_batches_are_refused():
    message = refused("--ims-per-batch 3", "take one of", ims_per_batch=3)
    assert " 8," in message  # what would work is named
    refused("--ims-per-batch 7", name="embedded", ims_per_batch=7)
    refused("--ims-per-batch is 0", ims_per_batch=0)
    refused("16 images", "3 processes", world_size=3)
    refused("4 images", "8 processes", "--ims-per-batch", name="embedded", world_size=8)
    assert resolve("embedded", world_size=8, ims_per_batch=8).cfg.SOLVER.IMS_PER_BATCH == 8


def test_learning_rate_of_the_user():
    own = resolve(lr=0.05, ims_per_batch=4)
    assert own.cfg.SOLVER.BASE_LR == 0.05  # at the batch in use: not rescaled
    assert (own.lr_chosen_by, own.overrides) == ("user", {})
    detectron2s = resolve(overrides=["SOLVER.BASE_LR", "0.05"])
    assert (detectron2s.cfg.SOLVER.BASE_LR, detectron2s.lr_chosen_by, detectron2s.overrides) == (0.05, "user", {})
    refused("0.03", "0.05", lr=0.03, overrides=["SOLVER.BASE_LR", "0.05"])
    refused("learning rate is -0.5", overrides=["SOLVER.BASE_LR", "-0.5"])
    refused("learning rate is nan", lr=float("nan"))


# Norms


@pytest.mark.parametrize(("world_size", "runs"), [(1, "BN"), (2, "naiveSyncBN"), (8, "naiveSyncBN")])
@pytest.mark.parametrize("name", ["coco-c4-1x", "coco-fpn-1x", "coco-fpn-4conv-1x", "voc-c4-24k"])
def test_norm_by_world_size(name, world_size, runs):
    protocol = resolve(name, world_size=world_size)
    assert norms(protocol) == tuple(norm.replace("S", runs) for norm in NORM[name])
    assert protocol.norm == runs
    assert f"{runs} in backbone" in describe(protocol, data(PROTOCOLS[name]))


def test_a_norm_that_the_user_names_is_taken_at_his_word():
    words = ["MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "SyncBN"]
    protocol = resolve("coco-fpn-1x", world_size=8, overrides=words)
    assert norms(protocol) == ("BN", "naiveSyncBN", "", "")
    assert resolve(overrides=["MODEL.RESNETS.NORM", "FrozenBN"]).norm == "FrozenBN"
    refused("SynBN", "SyncBN", overrides=["MODEL.RESNETS.NORM", "SynBN"])
    refused("no value ''", overrides=["MODEL.RESNETS.NORM", ""])
    refused("nnSyncBN", "SyncBN", overrides=["MODEL.RESNETS.NORM", "nnSyncBN"])
    assert resolve(device="cuda", overrides=["MODEL.RESNETS.NORM", "nnSyncBN"]).norm == "nnSyncBN"


@pytest.mark.parametrize("family", ["random", "detectron2-random"])
def test_frozen_norms_of_untrained_weights_are_refused(family):
    refused("FrozenBN", family, family=family, overrides=["MODEL.RESNETS.NORM", "FrozenBN"])
    # Detectron2 turns the norms of frozen stages into FrozenBN.
    refused("FREEZE_AT 2", family, family=family, overrides=["MODEL.BACKBONE.FREEZE_AT", "2"])
    assert resolve(overrides=["MODEL.BACKBONE.FREEZE_AT", "2"]).cfg.MODEL.BACKBONE.FREEZE_AT == 2


# Files


def test_protocols_are_the_files_that_are_no_base():
    files = {path.stem for path in FOLDER.glob("*.yaml")}
    assert {name for name in files if not name.startswith("base-")} == set(PROTOCOLS)
    assert {name for name in files if name.startswith("base-")} == {"base-c4", "base-fpn"}
    refused("--protocol", "base-c4", name="base-c4")
    refused("coco-c4-1x", name="coco-c4-1")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_file_says_its_version_and_leaves_weights_data_and_convention_out(path):
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert own["VERSION"] == 2
    found = set(leaves(own))
    assert not found & {"MODEL.WEIGHTS", "INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "SEED", "OUTPUT_DIR"}
    assert not found & {"MODEL.RESNETS.STRIDE_IN_1X1", "MODEL.DEVICE", "DATASETS.TRAIN", "DATASETS.TEST"}
    assert found - {"_BASE_"} <= set(leaves(get_cfg()))
    assert "See Instructions" not in path.read_text(encoding="utf-8")


def write(folder, name="mine.yaml", text="VERSION: 2\n"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# As in VISSL's files: the second MODEL wins in PyYAML and yacs, and the norm of the first vanishes.
TWO_MODELS = "MODEL:\n  RESNETS: {NORM: SyncBN}\nSOLVER: {MAX_ITER: 100}\nMODEL:\n  MASK_ON: True\n"
NESTED_TWICE = "MODEL:\n  RESNETS:\n    NORM: SyncBN\n    DEPTH: 50\n    NORM: BN\n"


@pytest.mark.parametrize(("text", "key", "line"), [(TWO_MODELS, "MODEL", 4), (NESTED_TWICE, "NORM", 5)])
def test_duplicate_keys_are_refused_also_in_a_base(tmp_path, text, key, line):
    bad = write(tmp_path, "bad.yaml", text)
    heir = write(tmp_path, "heir.yaml", "_BASE_: bad.yaml\nVERSION: 2\n")
    heir_of_heir = write(tmp_path, "third.yaml", "_BASE_: heir.yaml\nVERSION: 2\n")
    for path in (bad, heir, heir_of_heir):
        with pytest.raises(UserError, match=f"bad.yaml.*duplicate key '{key}'.*line {line}"):
            load_protocol_file(path)
        refused("duplicate key", "bad.yaml", name=str(path))


def test_a_base_is_inherited_and_its_lists_are_replaced(tmp_path):
    write(
        tmp_path, "low.yaml", "SOLVER:\n  STEPS: (10, 20)\n  MAX_ITER: 30\n  WARMUP_ITERS: 5\nMODEL: {MASK_ON: True}\n"
    )
    (tmp_path / "sub").mkdir()
    path = write(tmp_path / "sub", "high.yaml", "_BASE_: ../low.yaml\nSOLVER:\n  STEPS: (25,)\n")
    loaded = load_protocol_file(path)
    assert leaves(loaded) == {
        "SOLVER.STEPS": "(25,)",
        "SOLVER.MAX_ITER": 30,
        "SOLVER.WARMUP_ITERS": 5,
        "MODEL.MASK_ON": True,
    }
    protocol = resolve(str(path))
    assert (protocol.name, protocol.task, protocol.cfg.SOLVER.STEPS) == ("high", "coco", (25,))
    plain = write(tmp_path, "plain.yaml", "SOLVER: {STEPS: [], MAX_ITER: 9, WARMUP_ITERS: 0}\n")
    assert resolve(str(plain)).task == "voc"
    assert resolve(str(plain), data=data()).task == "coco"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("_BASE_: mine.yaml\n", ["inherits from itself"]),
        ("_BASE_: [a.yaml]\n", ["_BASE_", "one file"]),
        ("_BASE_: gone.yaml\n", ["gone.yaml"]),
        ("- 1\n", ["no protocol"]),
        ("SOLVER: {STEPS: (10, 20)}\n", ["SOLVER.20)"]),
        ("SOLVER: {MAX_ITERS: 5}\n", ["SOLVER.MAX_ITERS", "'SOLVER.MAX_ITER'"]),
        ("SOLVER: {MAX_ITER: many}\n", ["SOLVER.MAX_ITER", "mine.yaml"]),
        ("SOLVER: 5\n", ["SOLVER", "mine.yaml"]),
        ("SOLVER:\n  MAX_ITER:\n", ["SOLVER.MAX_ITER", "empty"]),
        ("SOLVER: {MAX_ITER: 2020-01-01}\n", ["SOLVER.MAX_ITER", "mine.yaml"]),
        ("VERSION: 1\n", ["version 1"]),
        ("MODEL: {WEIGHTS: See Instructions}\nSOLVER: {STEPS: []}\n", ["MODEL.WEIGHTS", "--weights"]),
        ("SOLVER: {STEPS: [], REFERENCE_WORLD_SIZE: 8}\n", ["REFERENCE_WORLD_SIZE"]),
        ("SOLVER: {STEPS: [50000]}\n", ["SOLVER.STEPS", "SOLVER.MAX_ITER 40000"]),
    ],
)
def test_what_else_a_file_may_not_hold(tmp_path, text, parts):
    refused(*parts, name=str(write(tmp_path, text=text)))


# KEY VALUE


def test_overrides_are_applied_recorded_and_taken_literally():
    words = ["SOLVER.MAX_ITER", "100", "SOLVER.STEPS", "(50, 80)", "SOLVER.WARMUP_ITERS", "10"]
    words += ["INPUT.MIN_SIZE_TRAIN", "(320,)", "MODEL.ROI_HEADS.NMS_THRESH_TEST", "0.6", "MODEL.RPN.HEAD_NAME", "Mine"]
    protocol = resolve(ims_per_batch=4, overrides=words)
    cfg = protocol.cfg
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.WARMUP_ITERS) == (100, (50, 80), 10)  # not times 4
    assert cfg.SOLVER.BASE_LR == 0.005
    assert (cfg.INPUT.MIN_SIZE_TRAIN, cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST) == ((320,), 0.6)
    assert protocol.overrides == {
        "SOLVER.MAX_ITER": 100,
        "SOLVER.STEPS": [50, 80],
        "SOLVER.WARMUP_ITERS": 10,
        "INPUT.MIN_SIZE_TRAIN": [320],
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.6,
        "MODEL.RPN.HEAD_NAME": "Mine",
    }
    assert json.loads(json.dumps(protocol.overrides)) == protocol.overrides
    assert "SOLVER.MAX_ITER 100" in describe(protocol, data())


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["SOLVER.MAX_ITERS", "5"], ["'SOLVER.MAX_ITERS'", "did you mean 'SOLVER.MAX_ITER'?"]),
        (["MAX_ITER", "5"], ["'SOLVER.MAX_ITER'"]),
        (["SOLVER", "5"], ["'SOLVER'"]),
        (["SOLVER.STEPS.x", "5"], ["'SOLVER.STEPS.x'", "'SOLVER.STEPS'"]),
        (["SOLVER.MAX_ITER"], ["pairs", "'SOLVER.MAX_ITER'"]),
        (["SOLVER.MAX_ITER", "5", "MODEL.MASK_ON"], ["pairs", "3 words"]),
        (["SOLVER.MAX_ITER", "many"], ["SOLVER.MAX_ITER", "'many'", "int", "90000"]),
        (["SOLVER.MAX_ITER", "5.5"], ["SOLVER.MAX_ITER", "'5.5'"]),
        (["SOLVER.MAX_ITER", "None"], ["SOLVER.MAX_ITER", "'None'"]),
        (["MODEL.MASK_ON", "1"], ["MODEL.MASK_ON", "bool"]),
        (["INPUT.MIN_SIZE_TRAIN", "320"], ["INPUT.MIN_SIZE_TRAIN", "tuple", "(640, 672"]),
        (["INPUT.MIN_SIZE_TRAIN", "('a',)"], ["INPUT.MIN_SIZE_TRAIN"]),
        (["SOLVER.MAX_ITER", "99000", "SOLVER.MAX_ITER", "98000"], ["twice"]),
        (["SOLVER.MAX_ITER", "10"], ["SOLVER.WARMUP_ITERS"]),
        (["SOLVER.MAX_ITER", "10", "SOLVER.WARMUP_ITERS", "2"], ["SOLVER.STEPS (60000, 80000)", "SOLVER.MAX_ITER 10"]),
        (["SOLVER.MAX_ITER", "80000"], ["SOLVER.STEPS (60000, 80000)", "SOLVER.MAX_ITER 80000"]),
        (["SOLVER.MAX_ITER", "0"], ["SOLVER.MAX_ITER is 0"]),
        (["SOLVER.STEPS", "(80000, 60000)"], ["rise"]),
        (["SOLVER.STEPS", "(600.5,)"], ["whole numbers"]),
        (["SOLVER.WARMUP_ITERS", "-1"], ["SOLVER.WARMUP_ITERS -1"]),
        (["SOLVER.LR_SCHEDULER_NAME", "Cosine"], ["WarmupCosineLR"]),
        (
            ["SOLVER.CLIP_GRADIENTS.ENABLED", "True", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model"],
            ["full_model", "norm"],
        ),
    ],
)
def test_what_key_value_may_not_say(words, parts):
    refused(*parts, overrides=words)


@pytest.mark.parametrize("key", DECIDED_BY)
def test_settings_with_a_flag_of_their_own_are_refused(key):
    assert key in leaves(get_cfg())
    refused(key, "--", overrides=[key, "1"])


def test_masks_on_voc_are_refused():
    refused("no masks", name="voc-c4-24k", overrides=["MODEL.MASK_ON", "True"])


def test_no_steps_make_a_short_run_possible():
    words = ["SOLVER.MAX_ITER", "10", "SOLVER.STEPS", "()", "SOLVER.WARMUP_ITERS", "2"]
    protocol = resolve(overrides=words)
    assert lr_at(protocol.cfg, 0.9) == 0.02
    assert "then constant" in describe(protocol, data())


# Precision, data, run


@pytest.mark.parametrize(
    ("name", "precision", "bf16", "changed"),
    [
        ("coco-c4-1x", None, False, {}),
        ("coco-c4-1x", "fp32", False, {}),
        ("coco-c4-1x", "bf16", True, {"precision": "bf16"}),
        ("embedded", None, True, {}),
        ("embedded", "bf16", True, {}),
        ("embedded", "fp32", False, {"precision": "fp32"}),
    ],
)
def test_precision(name, precision, bf16, changed):
    protocol = resolve(name, precision=precision)
    assert bf16 == protocol.cfg.SOLVER.AMP.ENABLED
    assert protocol.overrides == changed


def test_an_unknown_precision_is_refused():
    refused("--precision", "bf16", precision="bf8")


def test_data_decides_names_classes_and_mask_format():
    images = data(class_names=("a", "b", "c"), mask_format="bitmask")
    cfg = resolve(data=images).cfg
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (("a_train", "b_train"), ("a_val",))
    assert (cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.INPUT.MASK_FORMAT) == (3, "bitmask")
    cfg = resolve("voc-c4-24k", data=data("voc", class_names=("a", "b"))).cfg
    assert (cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.INPUT.MASK_FORMAT) == (2, "polygon")
    assert resolve("voc-c4-24k").cfg.MODEL.ROI_HEADS.NUM_CLASSES == 20
    refused("transfer/voc.py", name="voc-c4-24k", data=data("coco"))
    refused("transfer/coco.py", name="embedded", data=data("voc"))


def test_the_run_is_in_the_config():
    cfg = resolve(device="cuda", seed=3, workers=2, output="somewhere").cfg
    assert (cfg.MODEL.DEVICE, cfg.SEED, cfg.DATALOADER.NUM_WORKERS, cfg.OUTPUT_DIR) == ("cuda", 3, 2, "somewhere")


# Hash and dump


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 7},
        {"output": "elsewhere"},
        {"workers": 0},
        {"device": "cuda"},
        {"family": "msra"},
        {"lr": 0.1},
        {"overrides": ["SOLVER.BASE_LR", "0.1"]},
        {"world_size": 2},
        {"world_size": 8},
        {"precision": "fp32"},
        {"ims_per_batch": 16},
        {"data": data(class_names=("a",), mask_format="bitmask")},
    ],
)
def test_hash_stays(options):
    assert resolve(**options).hash == resolve().hash


@pytest.mark.parametrize(
    "options",
    [
        {"overrides": ["SOLVER.MAX_ITER", "90001"]},
        {"overrides": ["SOLVER.WEIGHT_DECAY", "0.0"]},
        {"overrides": ["INPUT.MIN_SIZE_TRAIN", "(800,)"]},
        {"overrides": ["INPUT.MIN_SIZE_TEST", "640"]},
        {"overrides": ["MODEL.ROI_HEADS.NAME", "Res5ROIHeads"]},
        {"overrides": ["MODEL.RESNETS.NORM", "FrozenBN"]},
        {"overrides": ["MODEL.RESNETS.NORM", "BN"], "world_size": 8},
        {"overrides": ["TEST.PRECISE_BN.ENABLED", "False"]},
        {"precision": "bf16"},
        {"ims_per_batch": 8},
    ],
)
def test_hash_changes(options):
    assert resolve(**options).hash != resolve().hash


def test_protocols_differ_in_their_hash():
    assert len({resolve(name).hash for name in PROTOCOLS}) == len(PROTOCOLS)


ONCE = [
    {},
    {"ims_per_batch": 4},
    {"ims_per_batch": 4, "world_size": 2, "lr": 0.03},
    {"world_size": 8, "seed": 5, "output": "somewhere", "device": "cuda", "precision": "bf16"},
    {"overrides": ["SOLVER.MAX_ITER", "85000", "INPUT.MIN_SIZE_TRAIN", "(320,)"], "ims_per_batch": 16},
    {"data": data(class_names=("a", "b"), mask_format="bitmask")},
]


@pytest.mark.parametrize("options", ONCE)
@pytest.mark.parametrize("name", ["coco-c4-1x", "coco-fpn-4conv-1x"])
def test_resolving_a_dumped_config_changes_nothing(tmp_path, name, options):
    first = resolve(name, **options)
    path = write(tmp_path, "config.yaml", dump(first.cfg))
    # The same call, whose rescaling must not act a second time, and a call that says nothing but where it runs.
    bare = {key: options[key] for key in ("world_size", "seed", "output", "device") if key in options}
    for again in (resolve(str(path), **options), resolve(str(path), **bare)):
        assert again.cfg == first.cfg
        assert again.hash == first.hash
        assert again.arithmetic == ()
        assert dump(again.cfg) == dump(first.cfg)


def test_detectron2_reads_the_dump_as_the_same_config(tmp_path):
    protocol = resolve("coco-fpn-4conv-1x", ims_per_batch=2, data=data())
    path = write(tmp_path, "config.yaml", dump(protocol.cfg))
    theirs = get_cfg()
    theirs.merge_from_file(str(path))
    assert theirs == protocol.cfg
    assert "STEPS: (480000, 640000)" in dump(protocol.cfg)


# For people


def test_describe():
    text = describe(resolve("coco-c4-1x", world_size=8, data=data()), data())
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert list(lines) == [
        *("protocol", "changed", "detector", "norm", "batch", "lr", "rescaled", "iterations", "sizes", "tests")
    ]
    assert lines["protocol"].startswith("coco-c4-1x (COCO)")
    assert lines["detector"] == "Mask R-CNN R50-C4, an extra norm after res5, FREEZE_AT 0, 80 classes"
    assert lines["norm"] == "naiveSyncBN in backbone"
    assert lines["batch"] == "16 images, fp32"
    assert lines["lr"] == "0.02, chosen by the protocol; warm-up over 1000 iterations, x 0.1 at 60000, 80000"
    assert lines["iterations"] == "90,000 x 16 images / 117,266 training images = 12.3 epochs"
    assert "640, 672, 704, 736, 768, 800 px" in lines["sizes"]
    assert "RPN 6000 before and 1000 after NMS" in lines["tests"]
    assert "PreciseBN over 200 batches" in lines["tests"]
    four_conv = describe(resolve("coco-fpn-4conv-1x"), data())
    assert "box head of 4 conv and 1 fc" in four_conv
    assert "BN in backbone, BN in FPN, BN in box head, BN in mask head" in four_conv
    embedded = describe(resolve("embedded-voc", precision="fp32", lr=0.1), data("voc", train_images=240))
    assert "Faster R-CNN R50-FPN" in embedded
    assert "cosine" in embedded
    assert "changed     precision fp32" in embedded
    assert "0.1, chosen by the user" in embedded
    assert "= 2.0 epochs" in embedded


# Detectron2 builds each of them, in a process that imports protocol.py and the builder alone.
BUILD = """
import json, sys
from transfer.checkpoints.initialisation import RGB
from transfer.protocols.resolve import PROTOCOLS, resolve_protocol
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
