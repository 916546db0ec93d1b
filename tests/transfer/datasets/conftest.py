"""Small data sets for the tests of this folder."""

import json

import pytest

from benchmark.embedded import composer
from tests.transfer.datasets.editing import COCO600, TRIANGLE, XML, coco_file
from transfer.datasets import voc


@pytest.fixture(scope="module")
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
    monkeypatch.setattr(voc, "HOLDOUTS", tmp_path / "holdouts")


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
