"""What happens beside the steps of every training: agreement of the processes, log, progress, checkpoints.

Hooks are Detectron2's ``HookBase``; they act in the order in which they are registered: ``Agreement`` first, then
whatever watches the training, then ``Metrics``, ``ProgressBar`` and ``Checkpoints``, which only the main process has.
A hook's ``state_dict`` goes into every checkpoint, and ``load_state_dict`` takes it back.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine import HookBase

from benchmark.core.progress import progress
from pretrain.engine import signals
from pretrain.engine.account import Account
from pretrain.engine.checkpoint import LAST, save_checkpoint
from pretrain.engine.metrics_log import MetricsLog
from pretrain.engine.processes import is_main, world_size


class Agreement(HookBase):
    """Makes all processes stop, and save, after the same step. To be registered first, on every process.

    After each step the processes exchange two numbers: whether a signal has asked one of them to stop, and whether
    the main process's clock says that a checkpoint is due. Then ``trainer.stopping`` and ``trainer.saving`` are equal
    everywhere.

    Args:
        due: whether a checkpoint is due after a step (called with the number of completed steps), equal everywhere.
        minutes: a checkpoint is also due when this many minutes have passed since the last one.
    """

    def __init__(self, due: Callable[[int], bool], minutes: float):
        self.due, self.minutes = due, minutes

    def before_train(self) -> None:
        self._saved = time.monotonic()

    def after_step(self) -> None:
        trainer = self.trainer
        late = is_main() and time.monotonic() - self._saved >= 60 * self.minutes
        trainer.stopping, late = _largest(signals.requested(), int(late), getattr(trainer, "device", None))
        trainer.saving = bool(trainer.stopping or late or self.due(trainer.iteration))
        if trainer.saving:
            self._saved = time.monotonic()


def _largest(first: int, second: int, device: torch.device | None) -> tuple[int, int]:
    """Return the largest of each number over all processes."""
    if world_size() == 1:
        return first, second
    numbers = torch.tensor([first, second], device=device)
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return tuple(numbers.tolist())


class Metrics(HookBase):
    """Writes ``trainer.scalars()`` of the logged steps to ``metrics.json`` and TensorBoard, and the speed."""

    def __init__(self, folder: Path):
        self.folder = folder

    def before_train(self) -> None:
        self._log = MetricsLog(self.folder, self.trainer.start_iter)
        self._begun, self._steps = time.perf_counter(), 0

    def after_step(self) -> None:
        trainer = self.trainer
        self._steps += 1
        if not trainer.logs_this_step:
            return
        seconds = (time.perf_counter() - self._begun) / self._steps
        speed = {"images_per_second": trainer.images_per_iteration / seconds, "seconds_per_iteration": seconds}
        self._log.write(trainer.iteration, trainer.scalars() | speed)
        self._begun, self._steps = time.perf_counter(), 0

    def after_train(self) -> None:
        self._log.close()


class ProgressBar(HookBase):
    """Shows where the training is: ``trainer.shown()``, images per second, time left."""

    def __init__(self, what: str):
        self.what = what

    def before_train(self) -> None:
        trainer = self.trainer
        self._bar = progress(
            None, self.what, "it", total=trainer.max_iter, initial=trainer.start_iter, delay=0, leave=True
        )
        self._begun = time.perf_counter()

    def after_step(self) -> None:
        trainer = self.trainer
        steps = trainer.iteration - trainer.start_iter
        speed = trainer.images_per_iteration * steps / (time.perf_counter() - self._begun)
        self._bar.set_postfix(trainer.shown() | {"images/s": f"{speed:.0f}"}, refresh=False)
        self._bar.update()

    def after_train(self) -> None:
        self._bar.close()


class Checkpoints(HookBase):
    """Writes the last checkpoint whenever ``trainer.saving`` says so, unless what it would hold is not finite.

    Args:
        folder: of the run.
        account: of the run; its seconds go into the checkpoint, so that a record counts all parts of a run.
        also: values that a checkpoint holds beside the trainer's state (identity, config).
        before: called with the content before it is written (numbered copies, exports).
    """

    def __init__(
        self,
        folder: Path,
        account: Account,
        also: dict[str, Any],
        before: Callable[[dict[str, Any]], None] | None = None,
    ):
        self.folder, self.account, self.also, self.before = folder, account, also, before

    def after_step(self) -> None:
        if not self.trainer.saving:
            return
        content = {**self.trainer.state(), **self.also, "seconds": self.account.seconds}
        if not all(torch.isfinite(tensor).all() for tensor in content["model"].values()):
            return  # the next step will find the loss diverged; what was good before stays
        if self.before is not None:
            self.before(content)
        save_checkpoint(self.folder / LAST, content)
