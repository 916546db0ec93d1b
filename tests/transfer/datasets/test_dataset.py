"""Parts, subsets and hold-outs of real and composed sets, and every kind of bad data."""

import contextlib
import io
import json
import math
import shutil

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog, get_detection_dataset_dicts
from detectron2.data.datasets.pascal_voc import CLASS_NAMES as VOC_CLASSES
from detectron2.evaluation import PascalVOCDetectionEvaluator
from detectron2.structures import Boxes, Instances
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from torch import tensor

from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from benchmark.embedded import composer
from transfer.datasets import dataset as datasets
from transfer.datasets.coco_checks import run_lengths
from transfer.datasets.dataset import open_data

COCO600 = ROOT.parent / "shared" / "data" / "coco600"
FRACTIONS = (0.01, 0.02, 0.05, 0.1)
TRIANGLE = [1.0, 1.0, 9.0, 1.0, 5.0, 8.0]


@pytest.fixture(scope="session")
def composed(tmp_path_factory):
    """Return roots of small composed sets in COCO's and VOC's layout: 24 training, 8 validation images of 64 px."""
    patch = pytest.MonkeyPatch()
    patch.setattr(composer, "COMPOSED", tmp_path_factory.mktemp("composed"))
    roots = {"coco": composer.ensure_coco(24, 8, 64), "voc": composer.ensure_voc(24, 8, 64)}
    patch.undo()
    return roots


@pytest.fixture
def coco600():
    if not COCO600.is_dir():
        pytest.skip(f"{COCO600} is absent")
    return COCO600


@pytest.fixture(autouse=True)
def holdouts(tmp_path, monkeypatch):
    """Keep hold-outs of VOC out of the project's results."""
    monkeypatch.setattr(datasets, "HOLDOUTS", tmp_path / "holdouts")


def loaded(names):
    """Return what Detectron2 loads for registered names."""
    return [entry for name in names for entry in DatasetCatalog.get(name)]


def ids_of(names):
    return [entry["image_id"] for entry in loaded(names)]


def as_coco(data):
    """Return pycocotools' COCO of a ground truth."""
    found = COCO()
    found.dataset = data.ground_truth()
    with contextlib.redirect_stdout(io.StringIO()):
        found.createIndex()
    return found


# Parts


def test_composed_coco(composed):
    data = open_data("coco", composed["coco"])
    content = json.loads((composed["coco"] / "annotations" / "instances_train2017.json").read_text())
    assert (data.task, data.name, data.mask_format) == ("coco", composed["coco"].name, "bitmask")
    assert (data.train_images, data.test_images) == (len({entry["image_id"] for entry in content["annotations"]}), 8)
    assert data.class_names == tuple(category["name"] for category in content["categories"])
    assert data.category_ids == tuple(category["id"] for category in content["categories"])
    assert (data.fraction, data.image_ids) == (None, None)
    assert MetadataCatalog.get(data.train[0]).thing_classes == list(data.class_names)
    assert all(file.exists() for file in data.files)
    assert len(data.files) == 4
    assert len(loaded(data.train)) == 24
    assert open_data("coco", composed["coco"]) == data


def test_composed_voc(composed):
    data = open_data("voc", composed["voc"])
    assert (data.task, data.mask_format, data.test_images) == ("voc", "none", 8)
    assert data.train_images == sum("<object>" in path.read_text() for path in composed["voc"].rglob("0*.xml"))
    assert list(data.class_names) == sorted(data.class_names)
    assert data.category_ids == tuple(range(1, len(data.class_names) + 1))
    assert [len(DatasetCatalog.get(name)) for name in data.train] == [12, 12]
    assert {entry["file_name"].split("/")[-3] for entry in loaded(data.train)} == {"VOC2007", "VOC2012"}
    assert all(file.exists() for file in data.files)
    with pytest.raises(ValueError, match="no ground truth in COCO's format"):
        data.ground_truth()
    assert evaluated_with_truth(data) == pytest.approx(100)


def evaluated_with_truth(data):
    """Return AP50 of Detectron2's VOC evaluator for the true boxes, over the classes that occur."""
    evaluator = PascalVOCDetectionEvaluator(data.test[0])
    evaluator.reset()
    for entry in DatasetCatalog.get(data.test[0]):
        found = Instances((entry["height"], entry["width"]))
        found.pred_boxes = Boxes(tensor([thing["bbox"] for thing in entry["annotations"]]).reshape(-1, 4))
        found.pred_classes = tensor([thing["category_id"] for thing in entry["annotations"]])
        found.scores = tensor([1.0] * len(entry["annotations"]))
        evaluator.process([entry], [{"instances": found}])
    occurring = {thing["category_id"] for entry in loaded(data.test) for thing in entry["annotations"]}
    evaluator._class_names = [name for i, name in enumerate(data.class_names) if i in occurring]
    order = {old: new for new, old in enumerate(sorted(occurring))}
    evaluator._predictions = {order[old]: lines for old, lines in evaluator._predictions.items()}
    return evaluator.evaluate()["bbox"]["AP50"]


def test_default_is_the_embedded_set(composed, monkeypatch):
    monkeypatch.setattr(composer, "ensure_coco", lambda: composed["coco"])
    monkeypatch.setattr(composer, "ensure_voc", lambda: composed["voc"])
    assert [open_data(task, None).name for task in ("coco", "voc")] == ["embedded", "embedded"]
    assert open_data("coco", None).root == composed["coco"]


def test_coco600(coco600):
    data = open_data("coco", coco600)
    assert (data.name, data.test_images, len(data.class_names), data.mask_format) == ("coco600", 302, 80, "bitmask")
    assert data.category_ids[:12] == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13)
    train = loaded(data.train)
    assert len(train) == 315
    assert sum(thing["iscrowd"] for entry in train for thing in entry["annotations"]) == 25
    assert data.train_images == len(get_detection_dataset_dicts(data.train, filter_empty=True)) == 312
    truth = as_coco(data)
    assert (len(truth.getImgIds()), len(truth.getAnnIds()), len(truth.getCatIds())) == (302, 2457, 80)
    held_out = open_data("coco", coco600, holdout=0.1)
    assert MetadataCatalog.get(data.test[0]).json_file == str(data.root / "annotations" / "instances_val2017.json")
    assert "json_file" not in MetadataCatalog.get(held_out.test[0]).as_dict()  # it holds more than the hold-out
    assert sorted(as_coco(held_out).getImgIds()) == sorted(ids_of(held_out.test))


@pytest.mark.parametrize("kind", ["coco", "coco600", "voc"])
def test_detectron2_maps_every_training_image(kind, composed, request):
    root = request.getfixturevalue("coco600") if kind == "coco600" else composed[kind]
    data = open_data("voc" if kind == "voc" else "coco", root, fraction=0.1 if kind == "coco600" else 1.0)
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN = (64,)
    if data.mask_format != "none":
        cfg.MODEL.MASK_ON = True
        cfg.INPUT.MASK_FORMAT = data.mask_format
    mapper = DatasetMapper(cfg, is_train=True)
    mapped = [mapper(entry) for entry in get_detection_dataset_dicts(data.train, filter_empty=True)]
    assert len(mapped) == data.train_images > 20
    classes = {int(i) for entry in mapped for i in entry["instances"].gt_classes}
    assert classes <= set(range(len(data.class_names)))
    assert all(entry["instances"].has("gt_masks") == (kind != "voc") for entry in mapped)


# Shares


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_fractions_are_nested(seed, coco600):
    subsets = []
    for fraction in FRACTIONS:
        data = open_data("coco", coco600, fraction=fraction, seed=seed)
        assert data.fraction == fraction
        assert len(data.image_ids) == math.ceil(round(fraction * 315, 6))
        assert list(data.image_ids) == sorted(ids_of(data.train))
        assert data.test_images == 302
        subsets.append(set(data.image_ids))
    assert subsets[0] < subsets[1] < subsets[2] < subsets[3]
    assert open_data("coco", coco600, fraction=0.1, seed=seed).image_ids == data.image_ids
    assert set(open_data("coco", coco600, fraction=0.1, seed=seed + 1).image_ids) != subsets[3]


def test_fractions_of_voc(composed):
    small, large = (open_data("voc", composed["voc"], fraction=fraction) for fraction in (0.1, 0.5))
    assert (len(small.image_ids), len(large.image_ids)) == (3, 12)
    assert set(small.image_ids) < set(large.image_ids)
    assert sorted(name.partition("/")[2] for name in large.image_ids) == sorted(ids_of(large.train))
    assert large.train_images == sum(bool(entry["annotations"]) for entry in loaded(large.train))


@pytest.mark.parametrize("task", ["coco", "voc"])
@pytest.mark.parametrize("fraction", [None, 0.5])
def test_hold_out(task, fraction, composed):
    everything = open_data(task, composed[task], fraction=fraction, seed=3)
    data = open_data(task, composed[task], fraction=fraction, seed=3, holdout=0.1)
    train, test = ids_of(data.train), ids_of(data.test)
    assert not set(train) & set(test)
    assert sorted(train + test) == sorted(ids_of(everything.train))
    assert len(test) == data.test_images == (3 if fraction is None else 2)
    assert data.image_ids == everything.image_ids
    assert set(test) != set(ids_of(open_data(task, composed[task], fraction=fraction, seed=4, holdout=0.1).test))
    if task == "voc":
        assert evaluated_with_truth(data) == pytest.approx(100)
        again = open_data(task, composed[task], fraction=fraction, seed=3, holdout=0.1)
        assert again == data
    else:
        assert sorted(as_coco(data).getImgIds()) == test


def test_share_of_a_decimal_number():
    ids = range(100)
    assert math.ceil(0.07 * 100) == 8
    assert len(datasets.Choice(0.07, 0, None).subset(ids)) == 7


@pytest.mark.parametrize("task", ["coco", "voc"])
def test_fingerprint(task, composed, tmp_path):
    root = composed[task]
    plain = open_data(task, root).fingerprint
    others = [
        open_data(task, root, fraction=0.5).fingerprint,
        open_data(task, root, fraction=0.5, seed=1).fingerprint,
        open_data(task, root, holdout=0.5).fingerprint,
    ]
    assert len({plain, *others}) == 4
    assert open_data(task, root, seed=1).fingerprint == plain
    copy = shutil.copytree(root, tmp_path / "copy")
    moved = open_data(task, copy)
    assert moved.fingerprint == plain
    assert moved.train != open_data(task, root).train
    changed = next((copy / "VOC2012/Annotations").iterdir()) if task == "voc" else coco_file(copy)
    changed.write_text(changed.read_text() + "\n")
    assert open_data(task, copy).fingerprint != plain


def test_only_the_published_sets_are_called_coco(composed, tmp_path, monkeypatch):
    root = shutil.copytree(composed["coco"], tmp_path / "coco")
    assert open_data("coco", root).name == "coco-other"
    monkeypatch.setitem(datasets.PUBLISHED, "coco", (24, 8))
    assert open_data("coco", composed["coco"]).name == "coco"


def test_wrong_arguments(composed):
    with pytest.raises(ValueError, match="'lvis'"):
        open_data("lvis", composed["coco"])
    for share in ({"fraction": 0.0}, {"fraction": 1.5}, {"holdout": 1.0}):
        with pytest.raises(ValueError, match="must lie in"):
            open_data("coco", composed["coco"], **share)


# Bad data in COCO's layout


def coco_file(root, split="train"):
    return root / "annotations" / f"instances_{split}2017.json"


@pytest.fixture
def coco_root(tmp_path):
    """Return a root with four training and two validation images (empty files) and one polygon each."""
    root = tmp_path / "set"
    for split, count in (("train", 4), ("val", 2)):
        folder = root / f"{split}2017"
        folder.mkdir(parents=True)
        images = [{"id": i, "file_name": f"{i}.jpg", "height": 10, "width": 12} for i in range(1, count + 1)]
        for image in images:
            (folder / image["file_name"]).touch()
        annotations = [
            {"id": i, "image_id": i, "category_id": 5, "bbox": [1, 1, 8, 7], "area": 28.0, "segmentation": [TRIANGLE]}
            for i in range(1, count + 1)
        ]
        categories = [{"id": 5, "name": "cat"}, {"id": 2, "name": "dog"}]
        coco_file(root).parent.mkdir(exist_ok=True)
        content = {"images": images, "annotations": annotations, "categories": categories}
        coco_file(root, split).write_text(json.dumps(content))
    return root


def change(root, edit, split="train"):
    """Apply `edit` to a parsed annotation file and write it back."""
    content = json.loads(coco_file(root, split).read_text())
    edit(content)
    coco_file(root, split).write_text(json.dumps(content))


def refusal(task, root, **arguments):
    """Return the message with which `root` is refused; it must be one sentence that names a place."""
    with pytest.raises(UserError) as caught:
        open_data(task, root, **arguments)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert str(root) in message
    return message


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
    listdir, stat = datasets.coco_format.os.listdir, datasets.coco_format.os.stat
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


# Bad data in VOC's layout


def test_other_layout(coco_root, voc_root):
    assert "looks like VOC; use transfer/voc.py" in refusal("coco", voc_root)
    assert "looks like VOC; use transfer/voc.py" in refusal("coco", voc_root / "VOC2007")
    assert "looks like COCO; use transfer/coco.py" in refusal("voc", coco_root)
    assert "is one year of VOC" in refusal("voc", voc_root / "VOC2007")
    assert "holds neither VOC2007 nor VOC2012" in refusal("voc", voc_root / "VOC2007" / "Annotations")


XML = (
    "<annotation><size><width>12</width><height>10</height></size><object><name>cat</name><pose>Left</pose>"
    "<truncated>0</truncated><difficult>{difficult}</difficult><bndbox><xmin>1</xmin><ymin>1</ymin>"
    "<xmax>12</xmax><ymax>10</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def voc_root(tmp_path):
    """Return a root in VOC's layout: three images a list, one cat each, the first of a list marked difficult."""
    root = tmp_path / "devkit"
    for year, image_set, first in (("VOC2007", "trainval", 0), ("VOC2007", "test", 3), ("VOC2012", "trainval", 6)):
        for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (root / year / part).mkdir(parents=True, exist_ok=True)
        names = [f"{number:06d}" for number in range(first, first + 3)]
        for name in names:
            (root / year / "JPEGImages" / f"{name}.jpg").touch()
            (root / year / "Annotations" / f"{name}.xml").write_text(XML.format(difficult=int(name == names[0])))
        (root / year / "ImageSets" / "Main" / f"{image_set}.txt").write_text("\n".join(names) + "\n")
    return root


def test_voc_classes_and_difficult_objects(voc_root):
    data = open_data("voc", voc_root)
    assert data.class_names == VOC_CLASSES
    assert data.train_images == 6
    assert all(
        thing["category_id"] == VOC_CLASSES.index("cat") for e in loaded(data.train) for thing in e["annotations"]
    )
    assert sum(len(entry["annotations"]) for entry in loaded(data.train)) == 6
    metadata = MetadataCatalog.get(data.test[0])
    assert (metadata.dirname, metadata.split, metadata.year) == (str(voc_root / "VOC2007"), "test", 2007)
    assert metadata.thing_classes == list(VOC_CLASSES)


def edit_xml(root, old, new, path="VOC2012/Annotations/000007.xml"):
    text = (root / path).read_text()
    assert old in text
    (root / path).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("</annotation>", "", "is not readable XML"),
        ("<width>12</width>", "", "gives no size of the image"),
        ("<height>10<", "<height>0<", "gives no size of the image"),
        ("<name>cat</name>", "", "object 1 in"),
        ("<name>cat</name>", "<name></name>", "has no name"),
        ("<xmin>1</xmin>", "", "without the finite numbers xmin"),
        ("<xmin>1</xmin>", "<xmin>nan</xmin>", "without the finite numbers xmin"),
        ("<xmin>1</xmin>", "<xmin>13</xmin>", "of negative width or height"),
    ],
)
def test_bad_xml(old, new, words, voc_root):
    edit_xml(voc_root, old, new)
    message = refusal("voc", voc_root)
    assert words in message
    assert "VOC2012/Annotations/000007.xml" in message


@pytest.mark.parametrize(
    "encoding", ["utf-7", "UTF-32", "idna", "hex", "nonsense", "utf-16", "cp037", "rot13", "base64", "big5", "punycode"]
)
def test_odd_encodings_of_xml(encoding, voc_root):
    """Python's XML reader raises half a dozen kinds of errors for them."""
    path = voc_root / "VOC2012/Annotations/000007.xml"
    path.write_text(f'<?xml version="1.0" encoding="{encoding}"?>' + path.read_text())
    assert "000007.xml is not readable XML" in refusal("voc", voc_root)


def test_boxes_far_outside_of_their_image(voc_root):
    edit_xml(voc_root, "<xmax>12<", "<xmax>1e300<")
    assert "far outside its image" in refusal("voc", voc_root)


def test_xml_or_image_missing(voc_root):
    (voc_root / "VOC2012/Annotations/000007.xml").unlink()
    message = refusal("voc", voc_root)
    assert "1 of the 3 annotation files" in message
    assert "(000007.xml)" in message
    (voc_root / "VOC2012/JPEGImages/000006.jpg").unlink()
    (voc_root / "VOC2012/JPEGImages/000008.jpg").unlink()
    message = refusal("voc", voc_root)
    assert "2 of the 3 images" in message
    assert "(000006.jpg, 000008.jpg)" in message


def test_list_file(voc_root):
    listing = voc_root / "VOC2012/ImageSets/Main/trainval.txt"
    for text, words in (
        ("000006\n000006\n", "names the image 000006 more than once"),
        ("000006\n", "at least two images"),
        ("", "at least two images"),
        ("000006 1\n000007 -1\n", "one a line and nothing else"),
        ("000006\n000099\n", "1 of the 2 images"),
    ):
        listing.write_text(text)
        assert words in refusal("voc", voc_root)
    listing.unlink()
    assert "image list" in refusal("voc", voc_root)
    (voc_root / "VOC2007/ImageSets/Main/test.txt").unlink()
    assert "has no validation split: VOC2007/ImageSets/Main/test.txt" in refusal("voc", voc_root)


@pytest.mark.parametrize("old", ["<pose>Left</pose>", "<difficult>0</difficult>", "<truncated>0</truncated>"])
def test_what_the_evaluator_reads(old, voc_root):
    """A file that the evaluator cannot read is an error in the test split, and is never held out of training."""
    edit_xml(voc_root, old, "")
    for seed in range(6):
        assert "000007" not in ids_of(open_data("voc", voc_root, holdout=0.5, seed=seed).test)
    assert open_data("voc", voc_root).train_images == 6
    edit_xml(voc_root, old, "", "VOC2007/Annotations/000004.xml")
    message = refusal("voc", voc_root)
    assert "VOC2007/Annotations/000004.xml (1 such files in test) lacks what VOC's evaluation reads" in message


def test_voc_without_objects(voc_root):
    for path in (voc_root / "VOC2007/Annotations").iterdir():
        path.write_text("<annotation><size><width>12</width><height>10</height></size></annotation>")
    assert "none of the images for validation" in refusal("voc", voc_root)


def test_same_name_in_both_years(voc_root):
    for kind, ending in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        shutil.copy(voc_root / f"VOC2007/{kind}/000000.{ending}", voc_root / f"VOC2012/{kind}/000000.{ending}")
    with open(voc_root / "VOC2012/ImageSets/Main/trainval.txt", "a") as listing:
        listing.write("000000\n")
    assert open_data("voc", voc_root).train_images == 7
    assert "name the same image; a hold-out needs names that differ" in refusal("voc", voc_root, holdout=0.5)
