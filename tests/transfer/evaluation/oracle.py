"""A detector that knows the answer, and small registered data sets: what evaluation and picture are tested with."""

import functools
import json

import numpy as np
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, BoxMode, Instances
from pycocotools import mask as coco_mask
from torch import nn

from benchmark.embedded.composer import ensure_coco, ensure_voc
from transfer.datasets.dataset import open_data

SIZE = 64  # px: side of the composed images
IMAGES = 25  # an odd number, so that two processes get unequal shares; they show every class


def small_coco():
    """Return the root of a small composed COCO data set."""
    return ensure_coco(train_images=8, val_images=IMAGES, size=SIZE, seed=5)


@functools.cache
def _read(path):
    return path.read_text(encoding="utf-8")


def ground_truth(root):
    """Return a fresh copy of the validation annotations under a COCO root."""
    return json.loads(_read(root / "annotations" / "instances_val2017.json"))


def coco_data():
    """Return the small COCO data set, registered."""
    return open_data("coco", small_coco())


def voc_data():
    """Return the same images in VOC's layout, registered; every class occurs among the test images."""
    return open_data("voc", ensure_voc(train_images=8, val_images=IMAGES, size=SIZE, seed=5))


def config(masks=True):
    """Return a config that feeds images at their own size."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.MASK_ON = masks
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TEST = SIZE
    return cfg


class Oracle(nn.Module):
    """A detector that answers with the registered annotations, boxes moved by up to `jitter` px (seeded by image).

    ``seen`` counts its calls; each must be in eval mode, in float32, without gradients.
    """

    def __init__(self, name, jitter=0.0, drop=()):
        super().__init__()
        self.part = nn.Linear(1, 1)
        self.records = {record["image_id"]: record for record in DatasetCatalog.get(name)}
        self.jitter, self.drop, self.seen = jitter, drop, 0

    def forward(self, inputs):
        assert not self.training
        assert not torch.is_grad_enabled()
        assert self.part(torch.ones(1)).dtype == torch.float32
        self.seen += len(inputs)
        return [{"instances": self.answer(self.records[image["image_id"]])} for image in inputs]

    def answer(self, record):
        """Return Instances of one image."""
        objects = [o for o in record["annotations"] if o["category_id"] not in self.drop]
        rng = np.random.default_rng(int(record["image_id"]))
        boxes = np.array([box_of(o) for o in objects], np.float32).reshape(-1, 4)
        instances = Instances((record["height"], record["width"]))
        moved = boxes + self.jitter * rng.uniform(-1, 1, boxes.shape)
        instances.pred_boxes = Boxes(torch.from_numpy(moved.astype(np.float32)))
        scores = rng.random(len(objects)) if self.jitter else np.ones(len(objects))
        instances.scores = torch.from_numpy(scores.astype(np.float32))
        instances.pred_classes = torch.tensor([o["category_id"] for o in objects], dtype=torch.int64)
        if objects and "segmentation" in objects[0]:
            masks = np.stack([coco_mask.decode(o["segmentation"]) for o in objects])
            instances.pred_masks = torch.from_numpy(masks).bool()
        return instances


def box_of(annotation):
    """Return corners (x0, y0, x1, y1) of an annotation in Detectron2's form."""
    return BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
