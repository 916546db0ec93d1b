"""Bad data in COCO's layout: every kind is refused in one sentence, in both splits."""

import contextlib
import math
import shutil

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetMapper
from detectron2.data.datasets.pascal_voc import CLASS_NAMES as VOC_CLASSES
from pycocotools import mask as coco_mask

from benchmark.core.errors import UserError
from tests.transfer.datasets.editing import (
    TRIANGLE,
    as_coco,
    change,
    coco_file,
    loaded,
    refusal,
)
from transfer.datasets import coco_format
from transfer.datasets.coco_checks import run_lengths
from transfer.datasets.dataset import open_data


def test_good_polygons(coco_root):
    data = open_data("coco", coco_root)
    assert (data.mask_format, data.class_names, data.category_ids) == ("polygon", ("dog", "cat"), (2, 5))
    assert {thing["category_id"] for entry in loaded(data.train) for thing in entry["annotations"]} == {1}


def test_missing_root(tmp_path):
    assert "there is no folder" in refusal("coco", tmp_path / "nowhere")
    assert "there is no folder" in refusal("voc", tmp_path / "nowhere")


def test_missing_annotation_file(coco_root):
    coco_file(coco_root).unlink()
    assert "has no annotation file annotations/instances_train2017.json" in refusal("coco", coco_root)


def test_no_validation(coco_root):
    coco_file(coco_root, "val").unlink()
    assert "no validation split: the annotation file annotations/instances_val2017.json" in refusal("coco", coco_root)


def test_empty_validation(coco_root):
    change(coco_root, lambda content: content.update(annotations=[]), "val")
    assert "none of the images for validation" in refusal("coco", coco_root)
    change(coco_root, lambda content: content.update(images=[]), "val")
    assert "the validation split is empty" in refusal("coco", coco_root)
    assert "the validation split is empty" in refusal("coco", coco_root, holdout=0.5)


def test_empty_training_set(coco_root):
    change(coco_root, lambda content: [entry.update(iscrowd=1) for entry in content["annotations"]])
    assert "none of the images for training" in refusal("coco", coco_root)
    change(coco_root, lambda content: content.update(annotations=[], images=[]))
    assert "the training set is empty" in refusal("coco", coco_root)


def test_share_without_objects(coco_root):
    change(coco_root, lambda content: content.update(annotations=content["annotations"][:1]))
    refused = 0
    for seed in range(8):
        with contextlib.suppress(UserError):
            open_data("coco", coco_root, fraction=0.1, seed=seed)
            continue
        assert "none of the images for training" in refusal("coco", coco_root, fraction=0.1, seed=seed)
        refused += 1
    assert 0 < refused < 8


def test_images_missing(coco_root):
    for i in (1, 2, 3, 4):
        (coco_root / "train2017" / f"{i}.jpg").unlink()
        message = refusal("coco", coco_root)
        assert f"{i} of the 4 images" in message
    assert "(1.jpg, 2.jpg, 3.jpg, ...)" in message
    (coco_root / "train2017").rmdir()
    assert "4 of the 4 images" in refusal("coco", coco_root)


def test_images_in_folders_inside(coco_root):
    change(coco_root, lambda content: content["images"][0].update(file_name="inner/1.jpg"))
    assert "1 of the 4 images" in refusal("coco", coco_root)
    (coco_root / "train2017" / "inner").mkdir()
    (coco_root / "train2017" / "inner" / "1.jpg").touch()
    assert open_data("coco", coco_root).train_images == 4


def test_one_listing_and_no_question_per_image(coco_root, monkeypatch):
    listed, asked = [], []
    listdir, stat = coco_format.os.listdir, coco_format.os.stat
    monkeypatch.setattr("os.listdir", lambda path: (listed.append(str(path)), listdir(path))[1])
    monkeypatch.setattr("os.stat", lambda path, **more: (asked.append(str(path)), stat(path, **more))[1])
    open_data("coco", coco_root)
    assert sorted(listed) == [str(coco_root / "train2017"), str(coco_root / "val2017")]
    assert asked
    assert not [path for path in asked if path.endswith(".jpg")]


BAD_ANNOTATIONS = {
    "odd": ({"segmentation": [[*TRIANGLE, 3.0]]}, "bad polygon of 7 numbers, which are no pairs"),
    "short": ({"segmentation": [[1.0, 2.0, 3.0, 4.0]]}, "bad polygon of 4 numbers, fewer than the 6"),
    "second": ({"segmentation": [TRIANGLE, []]}, "bad polygon of 0 numbers"),
    "nan": ({"segmentation": [[*TRIANGLE[:5], math.nan]]}, "a coordinate is not finite"),
    "infinite": ({"segmentation": [[*TRIANGLE[:5], math.inf]]}, "a coordinate is not finite"),
    "text": ({"segmentation": [[*TRIANGLE[:5], "8"]]}, "wrong type"),
    "flat": ({"segmentation": TRIANGLE}, "a list of lists"),
    "empty": ({"segmentation": []}, "no mask (an empty segmentation)"),
    "null": ({"segmentation": None}, "no mask"),
    "other size": ({"segmentation": {"size": [12, 10], "counts": "abc"}}, "of size [12, 10] in an image of [10, 12]"),
    "short counts": ({"segmentation": {"size": [10, 12], "counts": [60, 59]}}, "do not add up"),
    "no counts": ({"segmentation": {"size": [10, 12]}}, "wrong type"),
    "negative width": ({"bbox": [5, 5, -3, 2]}, "box [5, 5, -3, 2] of negative width or height"),
    "box of three": ({"bbox": [5, 5, 3]}, "must be four finite numbers"),
    "nan box": ({"bbox": [5, 5, 3, math.nan]}, "must be four finite numbers"),
    "nan area": ({"area": math.nan}, "area that is not finite"),
    "category": ({"category_id": 3}, "has category 3, which is not in 'categories'"),
    "image": ({"image_id": 99}, "belongs to image 99, which is not in 'images'"),
    "image of lists": ({"image_id": [1]}, "wrong type"),
    "text id": ({"id": "seven"}, "id that is no whole number"),
    "far polygon": ({"segmentation": [[*TRIANGLE[:5], 1e300]]}, "a coordinate lies far outside its image"),
    "far below": ({"segmentation": [[-1e9, *TRIANGLE[1:]]]}, "a coordinate lies far outside its image"),
    "far box": ({"bbox": [5, 5, 3, 1e300]}, "far outside its image"),
    "negative area": ({"area": -1.0}, "area -1.0, which must be 0 or more"),
    "crowd as text": ({"iscrowd": "1"}, "iscrowd '1', which must be the number 0 or 1"),
    "crowd of two": ({"iscrowd": 2}, "iscrowd 2"),
    "large id": ({"id": 10**30}, "no whole number between"),
    "nan id": ({"id": math.nan}, "no whole number between"),
    "nan image": ({"image_id": math.nan}, "belongs to image nan"),
    "image as number": ({"image_id": 2.0}, "wrong type"),
    "category as bool": ({"category_id": 5.0}, "wrong type"),
    "cut run length": ({"segmentation": {"size": [10, 12], "counts": "`"}}, "cannot be decoded"),
    "no run length": ({"segmentation": {"size": [10, 12], "counts": "PPPP yyyy"}}, "cannot be decoded"),
    "long run length": ({"segmentation": {"size": [10, 12], "counts": "oooooooooooo0"}}, "cannot be decoded"),
    "other run length": ({"segmentation": {"size": [10, 12], "counts": "Q2h1"}}, "do not add up"),
    "negative run": ({"segmentation": {"size": [10, 12], "counts": [130, -10]}}, "do not add up"),
    "run of text": ({"segmentation": {"size": [10, 12], "counts": [60.0, 60]}}, "do not add up"),
    "ignore": ({"ignore": 1}, "'ignore', which Detectron2 does not know"),
}


@pytest.mark.parametrize("case", BAD_ANNOTATIONS)
@pytest.mark.parametrize("split", ["train", "val"])
def test_bad_annotation(case, split, coco_root):
    values, words = BAD_ANNOTATIONS[case]
    change(coco_root, lambda content: content["annotations"][1].update(values), split)
    message = refusal("coco", coco_root)
    assert words in message
    assert message.startswith(f"annotation {values.get('id', 2)} in {coco_file(coco_root, split)} ")


def test_bad_annotations_are_counted(coco_root):
    change(coco_root, lambda content: [entry.update(category_id=9) for entry in content["annotations"][1:]])
    message = refusal("coco", coco_root)
    assert message.startswith("annotation 2 ")
    assert "and 2 more are bad" in message


def test_boxes_without_height_are_dropped_by_detectron2(composed, tmp_path):
    """COCO 2017 has two such boxes, so they are no error: the object is not trained on, its image is."""
    root = shutil.copytree(composed["coco"], tmp_path / "flat")
    change(root, lambda content: content["annotations"][0].update(bbox=[1.0, 1.0, 8.0, 0.0]))
    data = open_data("coco", root)
    assert data.train_images == open_data("coco", composed["coco"]).train_images
    entry = next(entry for entry in loaded(data.train) if entry["annotations"])
    objects = len(entry["annotations"])
    cfg = get_cfg()
    cfg.INPUT.MASK_FORMAT, cfg.MODEL.MASK_ON = "bitmask", True
    assert len(DatasetMapper(cfg, is_train=True)(entry)["instances"]) == objects - 1


def test_run_lengths_are_decoded_as_pycocotools_does():
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (7, 5), (64, 48), (3, 400)):
        for share in (0.0, 0.02, 0.5, 1.0):
            mask = np.asfortranarray((rng.random((height, width)) < share).astype(np.uint8))
            text = coco_mask.encode(mask)["counts"].decode()
            changes = np.flatnonzero(np.diff(mask.flatten("F")))
            expected = np.diff([-1, *changes, mask.size - 1]).tolist()
            expected = [0, *expected] if mask.flatten("F")[0] else expected
            assert run_lengths(text) == expected


@pytest.mark.parametrize("edit", [{"id": 10**30}, {"height": 10**9}, {"id": math.nan}, {"width": 2.5}])
@pytest.mark.parametrize("split", ["train", "val"])
def test_images_that_no_evaluator_takes(edit, split, coco_root):
    change(coco_root, lambda content: content["images"][1].update(edit), split)
    assert "whole number" in refusal("coco", coco_root)


def test_the_test_split_alone(coco_root, voc_root, composed):
    """An evaluation needs neither the training annotations nor the training images."""
    whole = open_data("coco", composed["coco"])
    shutil.rmtree(coco_root / "train2017")
    coco_file(coco_root).unlink()
    alone = open_data("coco", coco_root, test_only=True)
    assert (alone.train, alone.train_images, alone.test_images) == ((), 0, 2)
    assert alone.class_names == ("dog", "cat")
    assert sorted(as_coco(alone).getImgIds()) == [1, 2]
    assert open_data("coco", composed["coco"], test_only=True).ground_truth() == whole.ground_truth()
    change(coco_root, lambda content: content["annotations"][0].update(iscrowd="0"), "val")
    assert "iscrowd" in refusal("coco", coco_root, test_only=True)

    shutil.rmtree(voc_root / "VOC2012")
    (voc_root / "VOC2007/ImageSets/Main/trainval.txt").unlink()
    alone = open_data("voc", voc_root, test_only=True)
    assert (alone.train, alone.test_images, alone.class_names) == ((), 3, VOC_CLASSES)
    told = open_data("voc", voc_root, test_only=True, classes=("bird", "cat"))
    assert told.class_names == ("bird", "cat")
    assert open_data("voc", voc_root, test_only=True, classes=("bird",)).class_names == VOC_CLASSES


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_list_missing(key, coco_root):
    change(coco_root, lambda content: content.pop(key))
    assert f"has no list '{key}'" in refusal("coco", coco_root)


@pytest.mark.parametrize(
    ("entries", "key"),
    [("images", "id"), ("images", "file_name"), ("images", "height"), ("categories", "name")]
    + [("annotations", key) for key in ("id", "image_id", "category_id", "bbox", "area", "segmentation")],
)
def test_key_missing(entries, key, coco_root):
    change(coco_root, lambda content: content[entries][1].pop(key))
    assert f"has no '{key}'" in refusal("coco", coco_root)


@pytest.mark.parametrize(
    ("entries", "values", "words"),
    [
        ("images", {"id": 1}, "has the image id 1 more than once"),
        ("annotations", {"id": 1}, "has the annotation id 1 more than once"),
        ("categories", {"id": 5}, "has the category id 5 more than once"),
        ("categories", {"name": "cat"}, "has the category name 'cat' more than once"),
        ("images", {"id": "1"}, "id that is no whole number"),
        ("images", {"height": 0}, "height 0 and width 12"),
        ("images", {"file_name": ""}, "no file name"),
        ("categories", {"name": 3}, "a text as name"),
    ],
)
def test_bad_lists(entries, values, words, coco_root):
    change(coco_root, lambda content: content[entries][1].update(values))
    assert words in refusal("coco", coco_root)


def test_unreadable_json(coco_root):
    text = coco_file(coco_root).read_text()
    for broken in (text[: len(text) // 2].encode(), b"\xff\xfe\x00", b"", b"[" * 100_000):
        coco_file(coco_root).write_bytes(broken)
        assert "is not readable JSON" in refusal("coco", coco_root)
    coco_file(coco_root).write_text("[]")
    assert "holds no COCO dictionary" in refusal("coco", coco_root)


def test_no_categories(coco_root):
    change(coco_root, lambda content: content.update(categories=[], annotations=[]))
    assert "has no categories" in refusal("coco", coco_root)


def test_other_categories_in_validation(coco_root):
    change(coco_root, lambda content: content["categories"].append({"id": 9, "name": "cow"}), "val")
    assert "different categories, such as 9 (cow)" in refusal("coco", coco_root)


def test_ground_truth_without_object_zero(coco_root):
    """COCO's evaluation takes object 0 for "no match"; and the caller may change what it is given."""
    change(coco_root, lambda content: [entry.update(id=entry["id"] - 1) for entry in content["annotations"]], "val")
    data = open_data("coco", coco_root)
    truth = data.ground_truth()
    assert [entry["id"] for entry in truth["annotations"]] == [1, 2]
    assert all(entry["iscrowd"] == 0 for entry in truth["annotations"])
    truth["annotations"].clear()
    assert len(data.ground_truth()["annotations"]) == 2


def test_changed_file_is_read_again(coco_root):
    before = open_data("coco", coco_root)
    change(coco_root, lambda content: content.update(annotations=content["annotations"][:3]))
    after = open_data("coco", coco_root)
    assert (before.train_images, after.train_images) == (4, 3)
    assert len([entry for entry in loaded(after.train) if entry["annotations"]]) == 3
