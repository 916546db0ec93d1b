"""Schedules against literal values and the released code's formulas; functions of progress alone."""

import math

import pytest
from detectron2.engine import HookBase

from pretrain.engine.processes import choose_device
from pretrain.images.loading import list_images
from pretrain.training.schedules import ema_momentum, learning_rate
from pretrain.training.trainer import PretrainTrainer
from tests.pretrain.runs import config, pictures


def test_warm_up_then_cosine_has_these_values():
    schedule = learning_rate(2.0, 0.1)
    expected = {0.0: 0.0, 0.025: 0.5, 0.05: 1.0, 0.1: 2.0, 0.325: 1.7071068, 0.55: 1.0, 0.775: 0.2928932, 1.0: 0.0}
    for progress, value in expected.items():
        assert schedule(progress) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("epochs", "length"), [(400, 5), (800, 5), (20, 7)])
def test_equals_the_released_formulas(epochs, length):
    """Released code: fractional epoch e; lr e/10 of the peak in warm-up, then half a cosine; EMA 1 - (1 - m) cos."""
    warmup = min(10, epochs / 10)
    lr, ema = learning_rate(2.0, warmup / epochs), ema_momentum(0.996)
    for iteration in range(epochs * length):
        e, progress = iteration / length, iteration / (epochs * length)
        if e < warmup:
            expected = 2.0 * e / warmup
        else:
            expected = 2.0 * 0.5 * (1 + math.cos(math.pi * (e - warmup) / (epochs - warmup)))
        assert lr(progress) == pytest.approx(expected, abs=1e-9)
        assert ema(progress) == pytest.approx(1 - (1 - 0.996) * (math.cos(math.pi * e / epochs) + 1) / 2, abs=1e-12)


def test_without_warm_up_it_begins_at_the_peak():
    assert learning_rate(2.0, 0.0)(0.0) == 2.0


def test_ema_ends_at_one():
    assert ema_momentum(0.996)(0.0) == pytest.approx(0.996)
    assert ema_momentum(0.996)(0.5) == pytest.approx(0.998)
    assert ema_momentum(0.996)(1.0) == pytest.approx(1.0)


def test_the_trainer_uses_them_at_every_iteration(tmp_path):
    """The lr in use is lr * batch / 256 at its peak, set on the optimiser as a plain float."""
    c = config(epochs=3, warmup_epochs=1.0, lr=0.6, ema=0.9)
    trainer = PretrainTrainer(c, list_images(pictures(tmp_path, 16)), choose_device("cpu"))
    assert (trainer.iterations_per_epoch, trainer.max_iter) == (2, 6)
    seen = []

    class See(HookBase):
        def after_step(self):
            seen.append((self.trainer.last, self.trainer.optimiser.param_groups[0]["lr"]))

    trainer.register_hooks([See()])
    trainer.train(0, trainer.max_iter)
    peak = 0.6 * 8 / 256
    expected = [0.0, peak / 2, peak, peak * (1 + math.cos(math.pi / 4)) / 2, peak / 2]
    assert [result.lr for result, _ in seen][:5] == pytest.approx(expected)
    assert all(type(lr) is float and lr == result.lr for result, lr in seen)
    assert [result.momentum for result, _ in seen] == pytest.approx(
        [1 - 0.1 * (1 + math.cos(math.pi * i / 6)) / 2 for i in range(6)]
    )
