"""The description of a run for people."""

from tests.transfer.protocols.resolving import (
    data,
    resolve,
)
from transfer.protocols.description import describe_protocol


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
