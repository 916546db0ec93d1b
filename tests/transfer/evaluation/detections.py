"""COCO results made from a ground truth: perfect ones and seeded bad ones."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from benchmark.core.folder import ROOT
from tests.transfer.evaluation.oracle import ground_truth, small_coco

COCO600 = ROOT.parent / "shared" / "data" / "coco600"


def truth_of(which):
    """Return a fresh ground truth: ``embedded`` (run-length masks) or ``coco600`` (polygons and crowd regions)."""
    if which == "coco600" and not COCO600.is_dir():
        pytest.skip(f"{COCO600} is absent")
    root = COCO600 if which == "coco600" else small_coco()
    return ground_truth(root)


def code_of(annotation, truth):
    """Return an annotation's mask as compressed run lengths (bytes)."""
    image = next(image for image in truth["images"] if image["id"] == annotation["image_id"])
    shape = annotation["segmentation"]
    if isinstance(shape, list):
        return coco_mask.merge(coco_mask.frPyObjects(shape, image["height"], image["width"]))
    if isinstance(shape["counts"], list):
        return coco_mask.frPyObjects(shape, image["height"], image["width"])
    return {"size": shape["size"], "counts": shape["counts"].encode()}


def as_result(annotation, code, box=None, score=1.0, category_id=None):
    """Return a COCO result for an annotation."""
    return {
        "image_id": annotation["image_id"],
        "category_id": category_id or annotation["category_id"],
        "bbox": box or annotation["bbox"],
        "segmentation": {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode()},
        "score": score,
    }


def perfect(truth):
    """Return the objects (not the crowd regions) as detections of score 1."""
    objects = [annotation for annotation in truth["annotations"] if not annotation.get("iscrowd")]
    return [as_result(annotation, code_of(annotation, truth)) for annotation in objects]


def noisy(truth, seed=0):
    """Return seeded bad detections: moved, missed, doubled, of wrong classes, tied, inside crowds, 150 in an image."""
    rng = np.random.default_rng(seed)
    ids = [category["id"] for category in truth["categories"]]
    results = []
    crowded = truth["images"][0]["id"]
    for annotation in truth["annotations"]:
        code = code_of(annotation, truth)
        copies = 120 if annotation["image_id"] == crowded else rng.integers(0, 4)
        for _ in range(copies):
            moved = np.roll(coco_mask.decode(code), rng.integers(-3, 4, size=2), axis=(0, 1))
            box = np.array(annotation["bbox"]) + rng.normal(scale=0.06, size=4) * max(annotation["bbox"][2:])
            box[2:] = np.maximum(box[2:], 1.0)
            score = round(float(rng.random()), 2 if rng.random() < 0.5 else 6)  # rounded ones tie now and then
            category = None if rng.random() < 0.8 else int(rng.choice(ids))
            results.append(
                as_result(annotation, coco_mask.encode(np.asfortranarray(moved)), box.tolist(), score, category)
            )
    return results
