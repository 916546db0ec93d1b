"""Resolving protocols in tests: the call with defaults, data of COCO's and VOC's real numbers, refusals."""

from operator import attrgetter
from types import SimpleNamespace

import pytest
import torch
from detectron2.solver import build_lr_scheduler, build_optimizer

from benchmark.core.errors import UserError
from transfer.checkpoints.convention import MSRA_BGR, RGB
from transfer.protocols.norms import NORM_OF
from transfer.protocols.resolve import resolve_protocol

CONVENTIONS = {"checkpoint": RGB, "random": RGB, "detectron2-random": RGB, "torchvision": RGB, "msra": MSRA_BGR}
COCO_IMAGES, VOC_IMAGES = 117_266, 16_551  # training images with an object


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
    """Return what protocols read of a DetectionData, with COCO's (VOC's) real numbers."""
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


def lr_at(cfg, share):
    """Return Detectron2's own learning rate at a share of the training."""
    scheduler = build_lr_scheduler(cfg, build_optimizer(cfg, torch.nn.Linear(1, 1)))
    scheduler.last_epoch = round(share * cfg.SOLVER.MAX_ITER)
    return scheduler.get_lr()[0]


def write(folder, name="mine.yaml", text="VERSION: 2\n"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path
