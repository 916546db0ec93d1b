"""Other batch sizes: what is rescaled, what is said, what is refused."""

import pytest

from tests.transfer.protocols.resolving import (
    COCO_IMAGES,
    VOC_IMAGES,
    data,
    lr_at,
    refused,
    resolve,
)
from transfer.protocols.description import describe_protocol
from transfer.protocols.names import PROTOCOLS


@pytest.mark.parametrize("name", PROTOCOLS)
def test_last_milestone_and_warmup_lie_before_the_end(name):
    solver = resolve(name).cfg.SOLVER
    assert max(solver.STEPS, default=0) < solver.MAX_ITER
    assert min([*solver.STEPS, solver.MAX_ITER]) > solver.WARMUP_ITERS


@pytest.mark.parametrize(
    ("name", "images", "epochs"),
    [
        ("coco-c4-1x", COCO_IMAGES, 12.3),
        ("coco-c4-2x", COCO_IMAGES, 24.6),
        ("coco-fpn-4conv-1x", COCO_IMAGES, 12.3),
        ("voc-c4-24k", VOC_IMAGES, 23.2),
    ],
)
def test_epochs(name, images, epochs):
    solver = resolve(name).cfg.SOLVER
    assert round(solver.MAX_ITER * solver.IMS_PER_BATCH / images, 1) == epochs
    assert f"= {epochs} epochs" in describe_protocol(resolve(name), data(PROTOCOLS[name]))


@pytest.mark.parametrize("gpus", [8, 4, 2, 1])  # with two images each, as the 8 of the protocols have
@pytest.mark.parametrize("name", ["coco-c4-1x", "coco-fpn-2x", "voc-c4-24k"])
def test_fewer_gpus_keep_epochs_and_lr_per_image(name, gpus):
    full, less = resolve(name, world_size=8), resolve(name, world_size=gpus, ims_per_batch=2 * gpus)
    assert less.cfg.SOLVER.IMS_PER_BATCH // gpus == 2

    def images_seen(protocol):  # until each event of the schedule
        solver = protocol.cfg.SOLVER
        events = (solver.MAX_ITER, solver.WARMUP_ITERS, protocol.cfg.TEST.PRECISE_BN.NUM_ITER, *solver.STEPS)
        return [iterations * solver.IMS_PER_BATCH for iterations in events]

    assert images_seen(less) == images_seen(full)
    lr_per_image = [protocol.cfg.SOLVER.BASE_LR / protocol.cfg.SOLVER.IMS_PER_BATCH for protocol in (full, less)]
    assert lr_per_image == pytest.approx([0.02 / 16] * 2, rel=1e-12)
    for share in (0.001, 0.005, 0.3, 0.7, 0.9, 0.95):
        per_image = [lr_at(p.cfg, share) / p.cfg.SOLVER.IMS_PER_BATCH for p in (full, less)]
        assert per_image[0] == pytest.approx(per_image[1], rel=1e-9)
    assert bool(less.arithmetic) == (gpus < 8)


def test_the_arithmetic_is_printed():
    protocol = resolve("coco-c4-1x", ims_per_batch=4)
    assert protocol.arithmetic == (
        "batch 16 / 4 = 4",
        "lr 0.02 / 4 = 0.005",
        "steps 60000, 80000 x 4 = 240000, 320000",
        "iterations 90000 x 4 = 360000",
        "warm-up 1000 x 4 = 4000",
        "PreciseBN 200 x 4 = 800",
    )
    assert protocol.cfg.SOLVER.STEPS == (240000, 320000)
    assert protocol.cfg.SOLVER.BASE_LR == 0.005  # not 0.00500000001
    assert (protocol.lr_chosen_by, protocol.overrides) == ("protocol", {})
    for line in protocol.arithmetic:
        assert line in describe_protocol(protocol, data())


def test_a_larger_batch_is_rescaled_too():
    solver = resolve("coco-fpn-1x", ims_per_batch=32).cfg.SOLVER
    assert (solver.BASE_LR, solver.STEPS, solver.MAX_ITER, solver.WARMUP_ITERS) == (0.04, (30000, 40000), 45000, 500)
    embedded = resolve("embedded", ims_per_batch=8).cfg.SOLVER
    assert (embedded.BASE_LR, embedded.MAX_ITER, embedded.WARMUP_ITERS) == (0.04, 60, 10)


def test_batches_of_one_and_of_no_divisor_of_the_protocols_own():
    one = resolve(ims_per_batch=1)
    assert (one.cfg.SOLVER.IMS_PER_BATCH, one.cfg.SOLVER.MAX_ITER, one.cfg.SOLVER.BASE_LR) == (1, 1_440_000, 0.00125)
    five = resolve(ims_per_batch=5)
    assert five.arithmetic[:2] == ("batch 16 / (16/5) = 5", "lr 0.02 / (16/5) = 0.00625")
    assert five.cfg.SOLVER.STEPS == (192_000, 256_000)


def test_the_protocols_own_batch_changes_nothing():
    assert resolve(ims_per_batch=16) == resolve()


def test_indivisible_batches_are_refused():
    message = refused("--ims-per-batch 3", "take one of", ims_per_batch=3)
    # Every divisor of 3,200 = gcd of 16 x (60000, 80000, 90000, 1000, 200) up to twice the protocol's batch.
    assert message.endswith("take one of 1, 2, 4, 5, 8, 10, 16, 20, 25, 32.")
    refused("--ims-per-batch 7", name="embedded", ims_per_batch=7)
    refused("--ims-per-batch is 0", ims_per_batch=0)
    refused("16 images", "3 processes", world_size=3)
    refused("4 images", "8 processes", "--ims-per-batch", name="embedded", world_size=8)
    assert resolve("embedded", world_size=8, ims_per_batch=8).cfg.SOLVER.IMS_PER_BATCH == 8


def test_learning_rate_of_the_user():
    own = resolve(lr=0.05, ims_per_batch=4)
    assert own.cfg.SOLVER.BASE_LR == 0.05  # at the batch in use: not rescaled
    assert (own.lr_chosen_by, own.overrides) == ("user", {})
    detectron2s = resolve(overrides=["SOLVER.BASE_LR", "0.05"])
    assert (detectron2s.cfg.SOLVER.BASE_LR, detectron2s.lr_chosen_by, detectron2s.overrides) == (0.05, "user", {})
    refused("0.03", "0.05", lr=0.03, overrides=["SOLVER.BASE_LR", "0.05"])
    refused("learning rate is -0.5", overrides=["SOLVER.BASE_LR", "-0.5"])
    refused("learning rate is nan", lr=float("nan"))
