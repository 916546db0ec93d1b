"""The composer: masks are the pasted pixels, splits share nothing, everything is seeded and loads in pycocotools."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmark.embedded import composer


@pytest.fixture(scope="module")
def coco_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    composer.write_coco_split(root, "train2017", "train", 12, 128, seed=3)
    composer.write_coco_split(root, "val2017", "val", 12, 128, seed=3)
    return root


def test_every_pixel_shows_what_the_owner_map_says():
    """Repeat the composition with every cut-out painted in one flat colour: the colours must be the masks."""
    pack = composer.load_pack("train")
    occluded = 0
    for i in range(40):
        scene = composer.compose_scene(pack, composer.generator(5, "train", i), 128)
        occluded += _check_scene(pack, scene, i)
    assert occluded > 10  # the check has met objects that cover one another


def _check_scene(pack, scene, i) -> int:
    flat = composer.Pack(
        tuple(
            composer.Cutout(np.full_like(c.rgb, 1 + n % 250), c.mask, c.category_id) for n, c in enumerate(pack.cutouts)
        ),
        tuple(np.zeros_like(b) for b in pack.backgrounds),
        pack.categories,
    )
    painted = composer.compose_scene(flat, composer.generator(5, "train", i), 128).image[..., 0]
    assert np.array_equal(painted > 0, scene.owner > 0)
    for k in range(len(scene.category_ids)):
        colours = np.unique(painted[scene.mask(k)])
        assert len(colours) == 1  # one object, none of its pixels from another
        others = painted[(scene.owner != k + 1) & (scene.owner > 0)]
        same_cutout = [j for j in range(len(scene.category_ids)) if j != k and painted[scene.mask(j)][0] == colours[0]]
        assert colours[0] not in others or same_cutout
    # Pixels without an owner are the background, untouched: a scene of no objects has the same ones.
    bare = composer.compose_scene(pack, composer.generator(5, "train", i), 128, objects=(0, 0)).image
    assert np.array_equal(scene.image[scene.owner == 0], bare[scene.owner == 0])
    boxes = [a["bbox"] for a in composer.coco_annotations(scene)]
    return sum(_boxes_meet(a, b) for n, a in enumerate(boxes) for b in boxes[:n])


def _boxes_meet(a, b) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def test_occluded_objects_stay_visible_enough():
    pack = composer.load_pack("train")
    for i in range(40):
        scene = composer.compose_scene(pack, composer.generator(0, "train", i), 96)
        assert len(scene.category_ids) >= 1
        assert all(scene.mask(k).any() for k in range(len(scene.category_ids)))


def test_no_object_hides_more_of_another_than_agreed(monkeypatch):
    pasted: list[list[int]] = []  # of every scene, the pixels of each object as it was pasted
    check = composer.keeps_others_visible

    def spy(covered, owner, shape, pixels):
        if not pasted or pasted[-1] is not pixels:
            pasted.append(pixels)
        return check(covered, owner, shape, pixels)

    monkeypatch.setattr(composer, "keeps_others_visible", spy)
    pack = composer.load_pack("train")
    hidden = 0
    for i in range(60):
        scene = composer.compose_scene(pack, composer.generator(0, "train", i), 96)
        visible = [int(scene.mask(k).sum()) for k in range(len(scene.category_ids))]
        assert len(visible) == len(pasted[-1])
        assert all(composer.MIN_VISIBLE * p <= v <= p for v, p in zip(visible, pasted[-1], strict=True))
        hidden += sum(v < p for v, p in zip(visible, pasted[-1], strict=True))
    assert hidden > 20  # objects were covered in part


def test_the_photograph_under_a_mask_is_that_of_the_object():
    """Cut-outs painted with their own alpha: turned, scaled and mirrored otherwise than its mask, one would show."""
    pack = composer.load_pack("train")
    painted = composer.Pack(
        tuple(composer.Cutout(np.repeat(c.mask[..., None], 3, 2), c.mask, c.category_id) for c in pack.cutouts),
        tuple(np.zeros_like(b) for b in pack.backgrounds),
        pack.categories,
    )
    for i in range(40):
        scene = composer.compose_scene(painted, composer.generator(1, "train", i), 128)
        assert (scene.image[scene.owner > 0] >= 128).mean() > 0.999
        single = composer.compose_object(painted, composer.generator(1, "train", i, purpose=1), 64)
        assert (single.image[single.owner > 0] >= 128).mean() > 0.999


def test_every_set_takes_each_split_from_its_own_part_of_the_pack(tmp_path, monkeypatch):
    """Lossless COCO images equal their recomposition; JPEG ones are much nearer to it than to the other split's."""
    monkeypatch.setattr(composer, "COMPOSED", tmp_path)
    coco, voc = composer.ensure_coco(2, 2, 96, 7), composer.ensure_voc(2, 2, 96, 7)
    classes = composer.ensure_classification(3, 3, 64, 7)
    for split, scene_of in (("train", "train2017"), ("val", "val2017")):
        scene = composer.compose_scene(composer.load_pack(split), composer.generator(7, split, 1), 96)
        stored = np.asarray(Image.open(coco / scene_of / "000000000001.png"))
        assert np.array_equal(stored, scene.image)
        year, number = ("VOC2012", "000001") if split == "train" else ("VOC2007", "100001")
        _nearly(voc / year / "JPEGImages" / f"{number}.jpg", scene.image)
        part = classes / ("train" if split == "train" else "validation")
        scene = composer.compose_object(composer.load_pack(split), composer.generator(7, split, 2, purpose=1), 64)
        (path,) = part.rglob("000002.jpg")
        assert path.parent.name == composer.load_pack(split).categories[scene.category_ids[0]]
        _nearly(path, scene.image)
    scene = composer.compose_object(composer.load_pack("train"), composer.generator(7, "train", 2, purpose=1), 64)
    (path,) = composer.ensure_pretraining_images(3, 64, 7).rglob("000002.jpg")
    _nearly(path, scene.image)


def _nearly(path, image) -> None:
    stored = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(stored - image).mean() < 6  # JPEG; two different scenes differ by more than 30


def test_annotations_are_the_masks(coco_root):
    coco = COCO(str(coco_root / "annotations" / "instances_train2017.json"))
    pack = composer.load_pack("train")
    for image_id in coco.getImgIds():
        scene = composer.compose_scene(pack, composer.generator(3, "train", image_id - 1), 128)
        stored = np.asarray(Image.open(coco_root / "train2017" / coco.loadImgs(image_id)[0]["file_name"]))
        assert np.array_equal(stored, scene.image)  # lossless
        annotations = coco.loadAnns(coco.getAnnIds(image_id))
        assert len(annotations) == len(scene.category_ids)
        total = np.zeros((128, 128), int)
        for k, annotation in enumerate(annotations):
            mask = coco.annToMask(annotation).astype(bool)
            assert np.array_equal(mask, scene.mask(k))
            assert annotation["area"] == mask.sum()
            rows, columns = np.where(mask)
            x, y, w, h = annotation["bbox"]
            assert (x, y, x + w - 1, y + h - 1) == (columns.min(), rows.min(), columns.max(), rows.max())
            total += mask
        assert total.max() <= 1  # no pixel belongs to two objects


def test_splits_share_neither_cutout_nor_background():
    index = json.loads((composer.PACK / "index.json").read_text())
    train, val = composer.load_pack("train"), composer.load_pack("val")
    assert len(train.cutouts) + len(val.cutouts) == len(index["cutouts"]) == 290
    assert len(train.backgrounds) + len(val.backgrounds) == len(index["backgrounds"]) == 16
    for kind in ("cutouts", "backgrounds"):
        pixels = [
            {(item.rgb if kind == "cutouts" else item).tobytes() for item in getattr(pack, kind)}
            for pack in (train, val)
        ]
        assert not pixels[0] & pixels[1]


def test_seeded_and_a_larger_set_begins_with_the_smaller(tmp_path, coco_root):
    for name, count, seed in (("a", 4, 3), ("b", 4, 4)):
        composer.write_coco_split(tmp_path / name, "train2017", "train", count, 128, seed)
    read = [
        (root / "train2017" / "000000000002.png").read_bytes() for root in (coco_root, tmp_path / "a", tmp_path / "b")
    ]
    assert read[0] == read[1] != read[2]


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_ground_truth_as_detections_scores_100(coco_root, task):
    truth = COCO(str(coco_root / "annotations" / "instances_val2017.json"))
    detections = [{**annotation, "score": 0.9} for annotation in truth.loadAnns(truth.getAnnIds())]
    evaluation = COCOeval(truth, truth.loadRes(detections), task)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[:3] == pytest.approx([1.0, 1.0, 1.0])


def test_loads_in_detectron2(coco_root):
    pytest.importorskip("detectron2")
    from detectron2.data.datasets import load_coco_json

    loaded = load_coco_json(coco_root / "annotations" / "instances_val2017.json", coco_root / "val2017")
    assert len(loaded) == 12
    area = coco_mask.area(loaded[0]["annotations"][0]["segmentation"])
    assert area > 0


def test_voc_layout(tmp_path, monkeypatch):
    pytest.importorskip("detectron2")
    from detectron2.data.datasets.pascal_voc import load_voc_instances

    monkeypatch.setattr(composer, "COMPOSED", tmp_path)
    root = composer.ensure_voc(6, 4, 96, 0)
    names = tuple(composer.load_pack("train").categories.values())
    loaded = load_voc_instances(str(root / "VOC2007"), "trainval", names)
    assert len(loaded) == 3
    assert len(load_voc_instances(str(root / "VOC2012"), "trainval", names)) == 3
    assert len(load_voc_instances(str(root / "VOC2007"), "test", names)) == 4
    scene = composer.compose_scene(composer.load_pack("train"), composer.generator(0, "train", 0), 96)
    x, y, w, h = composer.coco_annotations(scene)[0]["bbox"]
    assert loaded[0]["annotations"][0]["bbox"] == [x, y, x + w, y + h]
