"""Schedules against the released codes' values and formulas, and what the trainer makes of them."""

import math

import numpy as np
import pytest
from detectron2.engine import HookBase

from pretrain.engine.processes import choose_device
from pretrain.images.listing import list_images
from pretrain.methods.base import ParameterGroup
from pretrain.training.command_line import resolve
from pretrain.training.learning_rates import drops, learning_rate
from pretrain.training.schedules import (
    constant,
    cosine,
    ema_momentum,
    per_epoch,
    steps,
    warm_up,
)
from pretrain.training.trainer import PretrainTrainer
from tests.pretrain.losses.vectors import read
from tests.pretrain.runs import config, pictures

OFFICIAL = read("schedules")


def warm_up_then_cosine(peak, total, length, rule, start=0.0, final=0.0):
    return warm_up(cosine(peak, final, total - length), peak, length, rule, start)


def ratio(h, final=0.0, peak=None):
    """SimCLR, BYOL, Barlow Twins, VICReg: base * batch / 256 (SimCLR also by the square root)."""
    if peak is None:
        by = math.sqrt(h["batch_size"]) if h.get("scaling") == "sqrt" else h["batch_size"] / 256
        peak = h["base_lr"] * by
    total = h.get("total_steps") or h["epochs"] * h["steps_per_epoch"]
    warmup = h.get("warmup_steps") or h["warmup_epochs"] * h["steps_per_epoch"]
    return warm_up_then_cosine(peak, total, warmup, "ratio", final=final * peak)


def linspace(h, peak, start=0.0, final=0.0):
    length = h["steps_per_epoch"]
    return warm_up_then_cosine(peak, h["epochs"] * length, h["warmup_epochs"] * length, "linspace", start, final)


def mec_lamda_inv(h):
    least = h["batch_size"] * h["eps"] / h["d"]
    return warm_up(constant(least), least, h["warmup_epochs"] * h["steps_per_epoch"], "linspace", start=8 * least)


def schedule_of(method, quantity, h):
    """Return the schedule of a method's quantity, made from the hyper-parameters of its recipe."""
    if quantity.startswith("EMA"):
        return cosine(h["base"], h.get("final", 1), h.get("total_steps") or h["epochs"] * h["steps_per_epoch"])
    if "predictor" in quantity:
        return constant(h["base_lr"] * h["batch_size"] / 256)
    makers = {
        "simclr": lambda: ratio(h), "byol": lambda: ratio(h),
        "barlow_twins": lambda: ratio(h, 0.001), "vicreg": lambda: ratio(h, 0.001),
        "swav": lambda: linspace(h, h["base_lr"], h["start_warmup"], h["final_lr"]),
        "mec": lambda: mec_lamda_inv(h) if "lamda" in quantity else linspace(h, h["base_lr"] * h["batch_size"] / 256),
        "simsiam": lambda: cosine(h["base_lr"] * h["batch_size"] / 256, 0.0, h["epochs"]),
        "moco_v1": lambda: steps(h["lr"], h["schedule"]), "moco_v2": lambda: cosine(h["lr"], 0.0, h["epochs"]),
    }  # fmt: skip
    return makers[method]()


@pytest.mark.parametrize("case", OFFICIAL, ids=lambda case: f"{case['method']}, {case['quantity']}")
def test_equals_the_official_values(case):
    schedule = schedule_of(case["method"], case["quantity"], case["hyper"])
    single = case["method"] == "byol" and case["quantity"].startswith("lr")  # float32 in the official code
    for at, value in case["values"]:
        assert schedule(at) == pytest.approx(value, rel=0, abs=1e-6 if single else 1e-9)
    if "constant within it" in case["quantity"]:  # of an epoch
        slow = per_epoch(schedule, 7)
        assert [slow(7 * at + inside) for at, _ in case["values"] for inside in (0, 6)] == [
            schedule(at) for at, _ in case["values"] for _ in (0, 6)
        ]


@pytest.mark.parametrize("lengths", [(400, 5, 50), (800, 5, 50), (20, 7, 14), (3, 4, 1), (3, 4, 0)])
def test_kernel_ssl_follows_the_released_arrays(lengths):
    """Matrix-SSL's code makes an array: linspace(0, peak, W), then half a cosine over the other iterations."""
    epochs, length, warmup = lengths
    total = epochs * length
    along = np.arange(total - warmup)
    released = [*np.linspace(0, 2.0, warmup), *(1.0 * (1 + np.cos(np.pi * along / (total - warmup))))]
    lr, ema = warm_up_then_cosine(2.0, total, warmup, "linspace"), ema_momentum(0.996)
    assert [lr(i) for i in range(total)] == pytest.approx(released, rel=0, abs=1e-12)
    for i in range(total):
        expected = 1 - (1 - 0.996) * (math.cos(math.pi * i / total) + 1) / 2
        assert ema(i / total) == pytest.approx(expected, abs=1e-12)
        assert cosine(0.996, 1.0, total)(i) == pytest.approx(expected, abs=1e-12)


def test_the_two_rules_of_a_warm_up():
    after = constant(9.0)
    assert [warm_up(after, 6.0, 4, "linspace")(i) for i in range(5)] == pytest.approx([0, 2, 4, 6, 9])
    assert [warm_up(after, 8.0, 4, "ratio")(i) for i in range(5)] == pytest.approx([0, 2, 4, 6, 9])
    assert [warm_up(after, 8.0, 3, "linspace", start=2.0)(i) for i in range(4)] == pytest.approx([2, 5, 8, 9])
    assert [warm_up(after, 8.0, 1, rule)(i) for rule in ("linspace", "ratio") for i in range(2)] == [0, 9, 0, 9]
    assert warm_up(after, 8.0, 0, "linspace")(0) == 9
    counted = warm_up(lambda iteration: float(iteration), 8.0, 3, "ratio")
    assert [counted(i) for i in (3, 4, 7)] == [0, 1, 4]  # the rest counts from the end of the warm-up


def test_steps_count_a_milestone_as_reached_at_its_own_iteration():
    assert [steps(1.0, [2, 4], 0.5)(i) for i in range(6)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("epochs", "shares", "after"),
    [
        (90, (1 / 3, 2 / 3), [30, 60]),
        (200, (0.6, 0.8), [120, 160]),
        (3, (0.6, 0.8), [2, 3]),
        (2, (1 / 3, 2 / 3), [1, 2]),
        (1, (1 / 3, 2 / 3), [1, 2]),
    ],
)
def test_drops_come_one_after_the_other_and_none_before_the_first_epoch_ends(epochs, shares, after):
    assert drops(shares, epochs) == after


def test_a_supervised_run_of_one_epoch_trains_at_its_peak():
    run = resolve(["--data=x", "--method=supervised", "--epochs=1"])
    schedule = learning_rate(run, ParameterGroup([]), 10)
    assert {schedule(iteration) for iteration in range(10)} == {run.scaled_lr}


def test_what_makes_no_schedule_is_refused():
    with pytest.raises(ValueError, match="rule is 'linear'; it must be 'linspace' or 'ratio'"):
        warm_up(constant(1.0), 1.0, 3, "linear")
    with pytest.raises(ValueError, match="total is 0"):
        cosine(1.0, 0.0, 0)
    with pytest.raises(ValueError, match="iterations_per_epoch is 0"):
        per_epoch(constant(1.0), 0)


def test_ema_ends_at_one():
    assert ema_momentum(0.996)(0.0) == pytest.approx(0.996)
    assert ema_momentum(0.996)(0.5) == pytest.approx(0.998)
    assert ema_momentum(0.996)(1.0) == pytest.approx(1.0)


def test_the_trainer_uses_them_at_every_iteration(tmp_path):
    """The lr in use is lr * batch / 256 at its peak, set on the optimiser as a plain float."""
    c = config(epochs=3, warmup_epochs=1.5, lr=0.6, ema=0.9)
    trainer = PretrainTrainer(c, list_images(pictures(tmp_path, 16)), choose_device("cpu"))
    assert (trainer.iterations_per_epoch, trainer.max_iter) == (2, 6)
    seen = []

    class See(HookBase):
        def after_step(self):
            trainer = self.trainer
            seen.append((trainer.last, trainer.optimiser.param_groups[0]["lr"], trainer.method.momentum))

    trainer.register_hooks([See()])
    trainer.train(0, trainer.max_iter)
    peak = 0.6 * 8 / 256
    along = [peak * (1 + math.cos(math.pi * i / 3)) / 2 for i in range(3)]
    assert [result.lr for result, _, _ in seen] == pytest.approx([0.0, peak / 2, peak, *along])
    assert all(type(lr) is float and lr == result.lr for result, lr, _ in seen)
    assert [momentum for _, _, momentum in seen] == pytest.approx(
        [1 - 0.1 * (1 + math.cos(math.pi * i / 6)) / 2 for i in range(6)]
    )
