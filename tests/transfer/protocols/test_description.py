"""The description of a run for people."""

import pytest

from tests.transfer.protocols.resolving import (
    data,
    resolve,
)
from transfer.protocols.description import describe_protocol, describe_test, in_short, warnings_about


def test_describe():
    text = describe_protocol(resolve("coco-c4-1x", world_size=8, data=data()), data())
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert list(lines) == [
        *("protocol", "changed", "detector", "norm", "batch", "lr", "rescaled", "iterations", "sizes", "tests")
    ]
    assert lines["protocol"].startswith("coco-c4-1x (COCO)")
    assert lines["detector"] == "Mask R-CNN R50-C4, an extra norm after res5, FREEZE_AT 0, 80 classes"
    assert lines["norm"] == "naiveSyncBN in backbone"
    assert lines["batch"] == "16 images, fp32"
    assert lines["lr"] == "0.02, chosen by the protocol; warm-up over 1000 iterations, x 0.1 at 60000, 80000"
    assert lines["iterations"] == "90,000 x 16 images / 117,266 training images = 12.3 epochs"
    assert "640, 672, 704, 736, 768, 800 px" in lines["sizes"]
    assert "RPN 6000 before and 1000 after NMS" in lines["tests"]
    assert "PreciseBN over 200 batches" in lines["tests"]
    four_conv = describe_protocol(resolve("coco-fpn-4conv-1x"), data())
    assert "box head of 4 conv and 1 fc" in four_conv
    assert "BN in backbone, BN in FPN, BN in box head, BN in mask head" in four_conv
    embedded = describe_protocol(resolve("embedded-voc", precision="fp32", lr=0.1), data("voc", train_images=240))
    assert "Faster R-CNN R50-FPN" in embedded
    assert "cosine" in embedded
    assert "changed     precision fp32" in embedded
    assert "0.1, chosen by the user" in embedded
    assert "= 2.0 epochs" in embedded
    assert "train 128 px on the short side, at most 1333 on the long; test 128, at most 1333" in embedded
    assert "no PreciseBN" in embedded


def test_norms_are_those_of_the_parts_that_are_built():
    voc = describe_protocol(resolve("embedded-voc"), data("voc"))
    assert "BN in backbone, none in FPN, none in box head\n" in voc
    assert "none in mask head" in describe_protocol(resolve("embedded"), data())


def test_an_evaluation_is_described_by_detector_and_tests_alone():
    lines = dict(line.split(maxsplit=1) for line in describe_test(resolve(), data()).splitlines())
    assert list(lines) == ["protocol", "changed", "detector", "tests"]
    assert lines["changed"] == "nothing"
    assert lines["tests"].startswith("5,000 images")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("coco-c4-2x", "COCO: Mask R-CNN R50-C4, an extra norm after res5; 180,000 x 16 images, lr 0.02"),
        ("coco-fpn-1x", "COCO: Mask R-CNN R50-FPN, box head of 0 conv and 2 fc; 90,000 x 16 images, lr 0.02"),
        ("voc-c4-24k", "VOC: Faster R-CNN R50-C4, an extra norm after res5; 24,000 x 16 images, lr 0.02"),
    ],
)
def test_a_protocol_in_one_line(name, said):
    assert in_short(name) == said


def test_many_epochs_over_few_images_are_warned_of():
    long = resolve()  # 90,000 x 16 = 1,440,000 images: 100 epochs over 14,400
    assert warnings_about(long, data(name="own", train_images=14_400)) == []
    [said] = warnings_about(long, data(name="own", train_images=1_000))
    assert said.startswith("90,000 iterations are 1,440 epochs over 1,000 images")
    assert "SOLVER.MAX_ITER 1,562 here" in said  # 25 epochs of 1,000 images, 16 at a time
    two = resolve("embedded", ims_per_batch=2, overrides=["SOLVER.MAX_ITER", "101"])
    assert "SOLVER.MAX_ITER 12 here" in warnings_about(two, data(name="own", train_images=1))[0]
    assert len(warnings_about(long, data(name="own", train_images=14_399))) == 1
    assert warnings_about(long, data(name="embedded", train_images=1_000)) == []


def test_more_detections_than_coco_counts_are_warned_of():
    more = ["TEST.DETECTIONS_PER_IMAGE", "101"]
    [said] = warnings_about(resolve(overrides=more), data(name="own"))
    assert "best 100" in said
    assert warnings_about(resolve(overrides=["TEST.DETECTIONS_PER_IMAGE", "100"]), data(name="own")) == []
    assert warnings_about(resolve("voc-c4-24k", overrides=more), data("voc", name="own")) == []
