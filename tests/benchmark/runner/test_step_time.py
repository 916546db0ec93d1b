"""The model of a step: its parts against counting by hand, its card against the measurements that it is taken from."""

import dataclasses
import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.core.folder import ROOT
from benchmark.runner.step_time import (
    CARDS,
    H200_BF16,
    KERNEL_SSL,
    LINKS,
    Card,
    Links,
    Work,
    gathered_bytes,
    loss_operations,
    step_time,
)
from pretrain.losses import kernel_ssl_loss
from pretrain.methods.registry import make_method
from pretrain.training.config import make_config

CARD = Card("a card", fixed_s=0.01, image_s=0.001, loss_floor_s=0.002, loss_rate=1e12)
WIRES = Links(1e9, 5e8, 1e-5, 2e-5, per_machine=4)
WORK = Work(width=100, gathered=4, trained_bytes=4_000_000, norm_collectives=10)


def test_alone_nothing_is_told():
    time = step_time(CARD, WIRES, WORK, 1, 64)
    assert (time.gather, time.gradients, time.norms, time.waiting) == (0.0, 0.0, 0.0, 0.0)
    assert time.total == pytest.approx(0.01 + 0.064 + 0.002)
    assert time.images_per_second == pytest.approx(64 / 0.076)


def test_parts_by_hand_within_a_machine_and_between():
    four, eight = step_time(CARD, WIRES, WORK, 4, 64), step_time(CARD, WIRES, WORK, 8, 64)
    assert four.compute == pytest.approx(0.01 + 16 * 0.001)
    assert four.gather == pytest.approx(4e-5 + 4 * 4 * 48 * 100 / 1e9)  # 48 of 64 rows are of the others
    assert four.gradients == pytest.approx(1e-5 + 1.5 * 4e6 / 1e9)
    assert four.norms == pytest.approx(10 * 1e-5)
    assert eight.gather == pytest.approx(8e-5 + 4 * 4 * 56 * 100 / 5e8)
    assert eight.gradients == pytest.approx(2e-5 + 1.75 * 4e6 / 5e8)
    assert eight.norms == pytest.approx(10 * 2e-5)


def test_views_that_come_late_are_waited_for():
    slow = dataclasses.replace(CARD, views_rate=100.0)
    time = step_time(slow, WIRES, WORK, 4, 64)
    assert time.total == pytest.approx(16 / 100)
    assert time.largest == "views"


@pytest.mark.parametrize(("rows", "width"), [(32, 48), (48, 48), (64, 24)])
def test_operations_of_the_loss_are_those_that_torch_counts(rows, width):
    features = [torch.randn(rows, width).requires_grad_(i < 2) for i in range(4)]
    with FlopCounterMode(display=False) as counter:
        kernel_ssl_loss(*features).backward()
    in_place = 2 * 2 * rows * min(rows, width) * width  # addmm_ of both pairs, which torch's counter passes over
    assert loss_operations(rows, width) == counter.get_total_flops() + in_place


def test_the_loss_is_cubic_on_the_gram_side_and_linear_beyond():
    assert loss_operations(2000, 10**6) / loss_operations(1000, 10**6) == pytest.approx(4, rel=0.01)
    assert loss_operations(2 * 10**6, 100) / loss_operations(10**6, 100) == pytest.approx(2, rel=0.01)


def test_work_is_that_of_the_released_method():
    method = make_method(make_config(method="kernel_ssl"))
    norms = [n for n, m in method.named_modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    copied = sum(name.startswith("momentum") for name in norms)
    assert 4 * sum(p.numel() for p in method.trainable()) == KERNEL_SSL.trained_bytes
    assert KERNEL_SSL.norm_collectives == 2 * (2 * (len(norms) - copied) + copied)
    assert gathered_bytes(KERNEL_SSL, 1024, 8) == 4 * 1024 * 2048 * 4 * 7 / 8


def test_the_card_is_the_one_that_was_measured():
    folder = ROOT / "results" / "gpu"
    steps, views = (json.loads((folder / f"bench_{n}.json").read_text()) for n in ("step", "input"))
    slope = (steps["bf16, batch 512"]["ms"] - steps["bf16, batch 256"]["ms"]) / 256e3
    assert H200_BF16.image_s == pytest.approx(slope, rel=0.01)
    end_to_end = views["end to end, bf16, fast views"]["images/s"]
    assert step_time(H200_BF16, LINKS, KERNEL_SSL, 1, 256).images_per_second == pytest.approx(end_to_end, rel=0.01)
    assert H200_BF16.views_rate == pytest.approx(views["views of 224 px, fast"]["images/s"], rel=0.01)
    logged = (
        steps["bf16, batch 512"]["ms"] / 1e3 - 512 * slope,
        steps["fp32 (TF32 convolutions), batch 128"]["ms"] / 1e3,
    )
    assert CARDS["fp32"].image_s == pytest.approx((logged[1] - logged[0]) / 128, rel=0.01)
