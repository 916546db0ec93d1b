"""Parts, shares and hold-outs of real and composed sets."""

import json
import math
import shutil

import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog, get_detection_dataset_dicts
from detectron2.evaluation import PascalVOCDetectionEvaluator
from detectron2.structures import Boxes, Instances
from torch import tensor

from benchmark.embedded import composer
from tests.transfer.datasets.editing import FRACTIONS, as_coco, coco_file, ids_of, loaded
from transfer.datasets import data as datasets
from transfer.datasets.choice import Choice
from transfer.datasets.dataset import open_data


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
    occurring = sorted({thing["category_id"] for entry in loaded(data.test) for thing in entry["annotations"]})
    about, alone = MetadataCatalog.get(data.test[0]), MetadataCatalog.get(f"{data.test[0]}, classes that occur")
    alone.set(dirname=about.dirname, year=about.year, split=about.split)
    alone.set(thing_classes=[data.class_names[i] for i in occurring])
    evaluator = PascalVOCDetectionEvaluator(alone.name)
    evaluator.reset()
    for entry in DatasetCatalog.get(data.test[0]):
        found = Instances((entry["height"], entry["width"]))
        found.pred_boxes = Boxes(tensor([thing["bbox"] for thing in entry["annotations"]]).reshape(-1, 4))
        found.pred_classes = tensor([occurring.index(thing["category_id"]) for thing in entry["annotations"]])
        found.scores = tensor([1.0] * len(entry["annotations"]))
        evaluator.process([entry], [{"instances": found}])
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
    assert len(Choice(0.07, 0, None).subset(ids)) == 7


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
