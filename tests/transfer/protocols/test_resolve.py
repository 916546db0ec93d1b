"""What data and the command decide in the effective config."""

from tests.transfer.protocols.resolving import (
    data,
    refused,
    resolve,
)


def test_data_decides_names_classes_and_mask_format():
    images = data(class_names=("a", "b", "c"), mask_format="bitmask")
    cfg = resolve(data=images).cfg
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (("a_train", "b_train"), ("a_val",))
    assert (cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.INPUT.MASK_FORMAT) == (3, "bitmask")
    cfg = resolve("voc-c4-24k", data=data("voc", class_names=("a", "b"))).cfg
    assert (cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.INPUT.MASK_FORMAT) == (2, "polygon")
    assert resolve("voc-c4-24k").cfg.MODEL.ROI_HEADS.NUM_CLASSES == 20
    refused("transfer/voc.py", name="voc-c4-24k", data=data("coco"))
    refused("transfer/coco.py", name="embedded", data=data("voc"))


def test_the_run_is_in_the_config():
    cfg = resolve(device="cuda", seed=3, workers=2, output="somewhere").cfg
    assert (cfg.MODEL.DEVICE, cfg.SEED, cfg.DATALOADER.NUM_WORKERS, cfg.OUTPUT_DIR) == ("cuda", 3, 2, "somewhere")
