"""VOC's AP against Detectron2's evaluator, missing against zero, difficult objects."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.pascal_voc import register_pascal_voc
from detectron2.evaluation import PascalVOCDetectionEvaluator

from tests.transfer.evaluation.oracle import Oracle, config, voc_data
from transfer.evaluation.run import run_evaluation

EQUAL = 1e-9  # percent


def test_voc_perfect_detector_gets_100():
    data = voc_data()
    metrics, predictions = run_evaluation(Oracle(*data.test), config(masks=False), data)
    assert list(metrics) == ["bbox"]
    assert list(metrics["bbox"].values()) == pytest.approx([100.0] * (3 + len(data.class_names)))
    assert list(metrics["bbox"])[:3] == ["AP", "AP50", "AP75"]
    assert len(predictions) == sum(len(record["annotations"]) for record in DatasetCatalog.get(*data.test))


def test_voc_equals_detectron2_on_noisy_detections():
    """The small set has every class, so that nothing is missing and both means are over the same classes."""
    data = voc_data()
    model = Oracle(*data.test, jitter=5.0).eval()
    metrics, _ = run_evaluation(model, config(masks=False), data)
    theirs = PascalVOCDetectionEvaluator(*data.test)
    theirs.reset()
    records = DatasetCatalog.get(*data.test)
    with torch.no_grad():
        theirs.process(records, model(records))
    expected = theirs.evaluate()["bbox"]
    assert None not in metrics["bbox"].values()
    assert {name: metrics["bbox"][name] for name in expected} == pytest.approx(expected, abs=EQUAL)
    assert 1 < expected["AP"] < expected["AP50"] < 99


def test_voc_missing_is_not_zero():
    data = voc_data()
    metadata = MetadataCatalog.get(*data.test)
    name = "test_evaluation_voc_more"
    if name not in DatasetCatalog.list():
        classes = (*data.class_names, "Vögel / {0}")
        register_pascal_voc(name, metadata.dirname, "test", 2007, classes)
    more = SimpleNamespace(task="voc", test=(name,), category_ids=tuple(range(1, len(data.class_names) + 2)))
    full, _ = run_evaluation(Oracle(name), config(masks=False), more)
    assert full["bbox"]["AP-Vögel / {0}"] is None
    assert full["bbox"]["AP"] == pytest.approx(100.0)
    lacking, _ = run_evaluation(Oracle(name, drop=(0,)), config(masks=False), more)
    classes = len(data.class_names)
    assert lacking["bbox"][f"AP-{data.class_names[0]}"] == 0.0
    assert lacking["bbox"]["AP"] == pytest.approx(100.0 * (classes - 1) / classes)


def test_voc_difficult_objects_are_neither_wanted_nor_punished(tmp_path):
    year = Path(MetadataCatalog.get(*voc_data().test).dirname)
    shutil.copytree(year, tmp_path / "VOC2007")
    names = voc_data().class_names
    for path in (tmp_path / "VOC2007" / "Annotations").iterdir():
        tree = ElementTree.parse(path)
        for entry in tree.iter("object"):
            if entry.find("name").text == names[1]:
                entry.find("difficult").text = "1"
        tree.write(path)
    name = "test_evaluation_voc_difficult"
    register_pascal_voc(name, str(tmp_path / "VOC2007"), "test", 2007, names)
    data = SimpleNamespace(task="voc", test=(name,), category_ids=tuple(range(1, len(names) + 1)))
    found, _ = run_evaluation(Oracle(name), config(masks=False), data)
    assert found["bbox"].pop(f"AP-{names[1]}") is None
    assert list(found["bbox"].values()) == pytest.approx([100.0] * (2 + len(names)))
