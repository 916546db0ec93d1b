"""Sections from run folders: curves, pictures, and why AP differs, from files as the runs leave them."""

import json

import pytest
from PIL import Image

from benchmark import report
from tests.benchmark.detections.test_detections import TRUTH, found
from tests.benchmark.pages.example_records import detection, pretraining


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report of two detectors with saved detections, a picture and a pre-training's log."""
    folder = tmp_path_factory.mktemp("evidence")
    runs = {"random": found(1, noise=0.5, missing=0.4), "kernel_ssl": found(2, noise=0.2, missing=0.1)}
    for method, predictions in runs.items():
        key = f"{method.replace('_', '')}0key"
        detection(method, 0 if method == "random" else 400, 0, 30.0, id=f"coco-{key}").write(folder / "records")
        run = folder / "runs" / f"coco-c4-1x-{key}"
        run.mkdir(parents=True)
        (run / "predictions.json").write_text(json.dumps(predictions))
        Image.new("RGB", (300, 200), "teal").save(run / "predictions.png")
    source = pretraining("kernel_ssl", 400, 40.0)
    source.write(folder / "records")
    run = folder / "runs" / f"x-{source.id.rsplit('-', 1)[-1]}"
    run.mkdir()
    lines = [
        {"iteration": i, "epoch": i / 10, "loss": 2.0 - i / 50, "effective_rank_backbone": 10 + i} for i in range(50)
    ]
    (run / "metrics.json").write_text("\n".join(map(json.dumps, lines)) + "\nnot json\n")
    (folder / "truth.json").write_text(json.dumps(TRUTH))
    words = ["--records", str(folder / "records"), "--output", str(folder), "--annotations", str(folder / "truth.json")]
    assert report.main(words) == 0
    page, text = (folder / "report.html").read_text(), (folder / "tables" / "report.md").read_text()
    return json.loads((folder / "tables" / "report.json").read_text()), page, text


def section(made, name):
    return next(section for section in made[0]["sections"] if section["id"] == name)


def test_errors_tell_what_was_planted(made):
    rows = {row["method"]: row["cells"] for row in section(made, "errors")["tables"][0]["rows"]}
    heads = [column["label"] for column in section(made, "errors")["tables"][0]["columns"]]
    miss = next(i for i, head in enumerate(heads) if head.startswith("Miss"))
    worse, better = rows["untrained encoder"][miss]["sort"], rows["Kernel-SSL, 400 epochs"][miss]["sort"]
    assert worse > better > 0


def test_differences_over_images_have_intervals(made):
    table = next(table for table in section(made, "errors")["tables"] if table["id"] == "images-bbox")
    (row,) = table["rows"]
    low, high = (float(part.replace("−", "-")) for part in row["cells"][1]["note"].strip("[]").split(", "))
    assert 0 < low < row["cells"][1]["sort"] < high


def test_pictures_and_curves_are_on_the_page(made):
    assert made[1].count("data:image/jpeg;base64,") == 2
    assert section(made, "curves")
    assert "from 2 to 1.02" in made[1]


def test_sections_that_are_only_pictures_are_left_out_of_markdown(made):
    titles = {section["title"] for section in made[0]["sections"]}
    left_out = {title for title in titles if f"\n## {title}\n" not in made[2]}
    assert left_out == {"Predictions", "Training curves"}
