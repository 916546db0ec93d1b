"""VOC's layout: classes, difficult objects, and every kind of bad data."""

import shutil

import pytest
from detectron2.data import MetadataCatalog
from detectron2.data.datasets.pascal_voc import CLASS_NAMES as VOC_CLASSES

from tests.transfer.datasets.editing import edit_xml, ids_of, loaded, refusal
from transfer.datasets.dataset import open_data


def test_other_layout(coco_root, voc_root):
    assert "looks like VOC; use transfer/voc.py" in refusal("coco", voc_root)
    assert "looks like VOC; use transfer/voc.py" in refusal("coco", voc_root / "VOC2007")
    assert "looks like COCO; use transfer/coco.py" in refusal("voc", coco_root)
    assert "is one year of VOC" in refusal("voc", voc_root / "VOC2007")
    assert "holds neither VOC2007 nor VOC2012" in refusal("voc", voc_root / "VOC2007" / "Annotations")


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
