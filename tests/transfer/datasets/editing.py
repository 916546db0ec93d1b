"""What the tests of data sets look at and change: annotations, refusals, what Detectron2 loads."""

import contextlib
import io
import json

import pytest
from detectron2.data import DatasetCatalog
from pycocotools.coco import COCO

from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from transfer.datasets.dataset import open_data

COCO600 = ROOT.parent / "shared" / "data" / "coco600"
FRACTIONS = (0.01, 0.02, 0.05, 0.1)
TRIANGLE = [1.0, 1.0, 9.0, 1.0, 5.0, 8.0]

XML = (
    "<annotation><size><width>12</width><height>10</height></size><object><name>cat</name><pose>Left</pose>"
    "<truncated>0</truncated><difficult>{difficult}</difficult><bndbox><xmin>1</xmin><ymin>1</ymin>"
    "<xmax>12</xmax><ymax>10</ymax></bndbox></object></annotation>"
)


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


def coco_file(root, split="train"):
    return root / "annotations" / f"instances_{split}2017.json"


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


def edit_xml(root, old, new, path="VOC2012/Annotations/000007.xml"):
    text = (root / path).read_text()
    assert old in text
    (root / path).write_text(text.replace(old, new))
