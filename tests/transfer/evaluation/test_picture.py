"""Which images and predictions are shown, and that what is shown is on the right side."""

import copy
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.transfer.evaluation.detections import COCO600, noisy, perfect
from tests.transfer.evaluation.oracle import Oracle, coco_data, config, voc_data
from transfer.datasets.dataset import open_data
from transfer.evaluation.picture import MARGIN, PANEL, draw_predictions, predictions_to_draw
from transfer.evaluation.run import run_evaluation


def picture(path):
    """Return the PNG as an array (h, w, 3)."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def halves(pixels):
    """Return what shows the ground truth and what shows the predictions (captions begin at the left)."""
    edge = MARGIN + PANEL
    return pixels[:, MARGIN:edge], pixels[:, edge + MARGIN : edge + MARGIN + PANEL]


def graded(truth):
    """Return detections of the first 12 images: 4 exact, 4 half too wide, 4 of no use; and the ids of each kind."""
    kinds = [[image["id"] for image in truth["images"]][k : k + 4] for k in (0, 4, 8)]
    results = [result for result in perfect(truth) if result["image_id"] not in kinds[2]]
    for result in results:
        if result["image_id"] in kinds[1]:
            x, y, w, h = result["bbox"]
            result["bbox"] = [x, y, 1.4 * w, h]
    return results, kinds


def only(data, ids):
    """Return the data set with the ground truth of some images."""
    truth = data.ground_truth()
    kept = {**truth, "images": [image for image in truth["images"] if image["id"] in ids]}
    kept["annotations"] = [entry for entry in truth["annotations"] if entry["image_id"] in ids]
    return replace(data, _ground_truth=lambda: copy.deepcopy(kept))


def test_best_first_then_worst(tmp_path):
    data = coco_data()
    results, (exact, wide, useless) = graded(data.ground_truth())
    data = only(data, {*exact, *wide, *useless})
    before = copy.deepcopy(results)
    drawn = draw_predictions(tmp_path / "deep" / "p.png", config(masks=False), data, results, images=8)
    assert set(drawn[:4]) == set(exact)
    assert set(drawn[4:]) == set(useless)
    assert results == before
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["p.png"]
    drawn = draw_predictions(tmp_path / "q.png", config(masks=False), data, results, images=12)
    assert [set(drawn[:4]), set(drawn[4:8]), set(drawn[8:])] == [set(exact), set(wide), set(useless)]
    assert draw_predictions(tmp_path / "one.png", config(masks=False), data, results, images=1)[0] in exact
    few = draw_predictions(tmp_path / "few.png", config(masks=False), only(data, exact[:3]), results, images=8)
    assert sorted(few) == sorted(exact[:3])


def test_ground_truth_left_predictions_right(tmp_path):
    data = coco_data()
    chosen = only(data, [data.ground_truth()["images"][0]["id"]])
    results = perfect(chosen.ground_truth())
    assert len(results) > 1
    paths = [tmp_path / name for name in ("full.png", "none.png", "again.png", "less.png")]
    for path, found in zip(paths, (results, [], results, results[1:]), strict=True):
        draw_predictions(path, config(), chosen, found)
    full, none, again, less = (picture(path) for path in paths)
    assert (full == again).all()
    rows = slice(-PANEL, -MARGIN - 10)  # of the one image, below its caption
    assert (halves(full)[0][rows] == halves(none)[0][rows]).all()
    assert (halves(full)[1][rows] != halves(none)[1][rows]).any()
    # Exact predictions cover what the objects cover, labels aside (they hold the score); here nothing covers less.
    plain = halves(none)[1][rows]
    painted = [(half[rows] != plain).any(axis=2) for half in halves(full)]
    assert 0.05 < painted[0].mean() < 0.95
    assert (painted[0] != painted[1]).mean() < 0.06
    assert (halves(less)[1][rows] != plain).any(axis=2).sum() < painted[1].sum()


def test_boxes_alone_for_a_detector_without_masks_and_for_voc(tmp_path):
    data = voc_data()
    cfg = config(masks=False)
    _, results = run_evaluation(Oracle(*data.test, jitter=4.0), cfg, data)
    drawn = draw_predictions(tmp_path / "voc.png", cfg, data, results, images=4)
    assert len(drawn) == len(set(drawn)) == 4
    left, right = halves(picture(tmp_path / "voc.png"))
    assert (left != right).any()
    without = draw_predictions(tmp_path / "none.png", cfg, data, [], images=4)
    assert len(without) == 4
    coco = coco_data()
    boxes = [{k: v for k, v in r.items() if k != "segmentation"} for r in perfect(coco.ground_truth())]
    assert len(draw_predictions(tmp_path / "boxes.png", cfg, coco, boxes, images=2)) == 2


@pytest.mark.skipif(not COCO600.is_dir(), reason=f"{COCO600} is absent")
def test_real_photographs_with_crowds(tmp_path):
    """Polygons, crowd regions as lists of run lengths, photographs of any shape; ids sampled by the seed."""
    data = open_data("coco", COCO600)
    truth = data.ground_truth()
    crowds = {entry["image_id"] for entry in truth["annotations"] if entry.get("iscrowd")}
    some = only(data, {*sorted(crowds)[:2], *(image["id"] for image in truth["images"][:6])})
    results = noisy(some.ground_truth())
    drawn = draw_predictions(tmp_path / "p.png", config(), some, results, images=6)
    assert len(drawn) == 6
    everything = [
        draw_predictions(tmp_path / "p.png", config(), data, perfect(truth), images=2, seed=s) for s in (0, 1)
    ]
    assert everything[0] != everything[1]  # all have 100: the seed alone decides


def test_unicode_names_are_drawn(tmp_path):
    data = coco_data()
    truth = data.ground_truth()
    for category in truth["categories"]:
        category["name"] = "Vögel и рыбы"
    renamed = replace(data, _ground_truth=lambda: truth)
    draw_predictions(tmp_path / "a.png", config(), renamed, perfect(truth), images=2)
    draw_predictions(tmp_path / "b.png", config(), data, perfect(truth), images=2)
    assert picture(tmp_path / "a.png").shape == picture(tmp_path / "b.png").shape
    assert (picture(tmp_path / "a.png") != picture(tmp_path / "b.png")).any()


def test_which_predictions_are_drawn():
    objects = [{"category_id": c, "iscrowd": crowd} for c, crowd in ((1, 0), (1, 0), (2, 0), (3, 1))]
    found = [{"category_id": c, "score": score} for c, score in ((1, 0.9), (4, 0.8), (1, 0.2), (1, 0.1), (5, 0.19))]
    found += [{"category_id": 2, "score": score} for score in (0.03, 0.04)]
    # The three best overall, and of class 2, which has one object, its best; none of the third and later ranks.
    assert [result["score"] for result in predictions_to_draw(found, objects)] == [0.9, 0.8, 0.2, 0.04]
    confident = [{"category_id": 3, "score": score} for score in (0.7, 0.6, 0.5, 0.49)]
    scores = [result["score"] for result in predictions_to_draw(found + confident, objects)]
    assert scores == [0.9, 0.8, 0.7, 0.6, 0.5, 0.2, 0.04]  # 0.2 is the second of class 1, which has two objects
    many = [{"category_id": 4, "score": 0.9}] * 400
    assert len(predictions_to_draw(many, objects)) == 25
