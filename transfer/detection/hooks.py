"""What happens beside the steps of fine-tuning: the log, the progress bar, checkpoints."""

import time
from pathlib import Path

from detectron2.engine import HookBase

from benchmark.core.progress import progress
from pretrain.engine.failures import Diverged
from pretrain.engine.metrics_log import MetricsLog
from transfer.detection.trainer import LAST


class Metrics(HookBase):
    """Writes losses, lr and seconds per iteration to ``metrics.json`` and TensorBoard every `every` iterations."""

    def __init__(self, folder: Path, every: int):
        self.folder, self.every = folder, every

    def before_train(self) -> None:
        self.log = MetricsLog(self.folder, self.trainer.start_iter)
        self._begun, self._steps = time.perf_counter(), 0

    def before_step(self) -> None:
        self._lr = self.trainer.lr

    def after_step(self) -> None:
        trainer = self.trainer
        self._steps += 1
        iteration = trainer.iter + 1
        if iteration % self.every and iteration not in (1, trainer.max_iter):
            return
        seconds = (time.perf_counter() - self._begun) / self._steps
        values = {"total_loss": trainer.loss, **trainer.losses, "lr": self._lr, "seconds_per_iteration": seconds}
        self.log.write(iteration, values)
        self._begun, self._steps = time.perf_counter(), 0

    def after_train(self) -> None:
        self.log.close()


class Progress(HookBase):
    """The progress bar: losses, lr, time left."""

    def __init__(self, what: str):
        self.what = what

    def before_train(self) -> None:
        trainer = self.trainer
        options = {"total": trainer.max_iter, "initial": trainer.start_iter, "delay": 0, "leave": True}
        self._bar = progress(None, self.what, "it", **options)

    def before_step(self) -> None:
        self._lr = self.trainer.lr

    def after_step(self) -> None:
        names = {"loss_cls": "cls", "loss_box_reg": "box", "loss_mask": "mask"}
        shown = {"loss": f"{self.trainer.loss:.3f}"}
        shown |= {
            short: f"{self.trainer.losses[name]:.2f}" for name, short in names.items() if name in self.trainer.losses
        }
        self._bar.set_postfix(shown | {"lr": f"{self._lr:.3g}"}, refresh=False)
        self._bar.update()

    def after_train(self) -> None:
        self._bar.close()


class FiniteWeights(HookBase):
    """Raises ``Diverged`` before a checkpoint (every `every` iterations and at the end) would hold what is no number.

    To be registered on every process, before ``Checkpoints``: weights are equal on all, so all stop together.
    """

    def __init__(self, every: int):
        self.every = every

    def after_step(self) -> None:
        trainer = self.trainer
        iteration = trainer.iter + 1
        if (iteration % self.every == 0 or iteration == trainer.max_iter) and not trainer.is_finite():
            raise Diverged("network's weights", iteration, trainer.lr)


class Checkpoints(HookBase):
    """Writes the last checkpoint every `every` iterations and at the end.

    `seconds_before`: time spent by earlier parts of the run, so that the record's duration is that of all parts.
    """

    def __init__(self, folder: Path, every: int, seconds_before: float):
        self.folder, self.every, self.seconds_before = folder, every, seconds_before
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time of the run so far, all parts together, in seconds."""
        return self.seconds_before + time.monotonic() - self._begun

    def after_step(self) -> None:
        trainer = self.trainer
        iteration = trainer.iter + 1
        if iteration % self.every and iteration != trainer.max_iter:
            return
        trainer.save(self.folder / LAST, self.seconds)
