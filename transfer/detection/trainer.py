"""The fine-tuning loop of a detector: the engine's training loop with Detectron2's optimiser and schedule.

One iteration: seed -> batch -> losses -> backward -> step -> schedule. Killed at any moment, a run on one CPU process
resumes to bit-identical weights: order and augmentation are functions of (seed, position), and the random numbers of
an iteration (which anchors and proposals are sampled) of (seed, iteration, process).
"""

import copy
import math
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import create_ddp_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils.events import EventStorage
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn

from benchmark.core.progress import progress
from pretrain.engine.failures import Diverged
from pretrain.engine.loop import TrainingLoop
from pretrain.engine.processes import is_main, rank, world_size
from transfer.detection.batches import STATISTICS, training_dicts, training_loader
from transfer.protocols.settings import honoured_value

SHORT = {"loss_cls": "cls", "loss_box_reg": "box", "loss_mask": "mask"}  # names on the progress bar


class DetectionTrainer(TrainingLoop):
    """Fine-tunes a detector.

    ``losses`` holds the last step's losses, averaged over processes; ``batches`` what is still to come, from
    ``before_train`` on.

    Args:
        cfg: the effective, frozen Detectron2 config.
        model: from ``build_detector`` with its weights loaded; in train mode from here on.
        seed: of order, augmentation and sampling.
        log_every: iterations from one logged step to the next.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module, seed: int, log_every: int = 20):
        super().__init__(cfg.SOLVER.MAX_ITER, log_every, cfg.SOLVER.IMS_PER_BATCH)
        self.cfg, self.model, self.seed = cfg, model.train(), seed
        self.optimiser = build_optimizer(cfg, model)
        self.settings = copy.deepcopy(self.optimiser.state_dict()["param_groups"])  # see checkpoint.check_optimiser
        self.scheduler = build_lr_scheduler(cfg, self.optimiser)
        self.device = torch.device(cfg.MODEL.DEVICE)
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
        if precision := honoured_value(cfg, "FLOAT32_PRECISION"):
            torch.set_float32_matmul_precision(precision)
        self.dicts = training_dicts(cfg)
        self.wrapped = self._wrapped()
        self.losses: dict[str, float] = {}
        self.lr = self._next_lr
        self.batches: Iterator[list[dict[str, Any]]] = iter(())

    def _wrapped(self) -> nn.Module:
        if world_size() == 1:
            return self.model
        devices = [torch.cuda.current_device()] if self.device.type == "cuda" else None
        return create_ddp_model(self.model, broadcast_buffers=False, device_ids=devices)

    @property
    def _next_lr(self) -> float:
        """Learning rate of the next step (of the weights; biases may have a factor of their own)."""
        return float(self.optimiser.param_groups[0]["lr"])

    @property
    def loss(self) -> float:
        """Sum of the last step's losses."""
        return sum(self.losses.values())

    def before_train(self) -> None:
        """Start the loader at the first iteration of this part of the run."""
        self.batches = self.batches_of(self.start_iter, self.max_iter)
        super().before_train()

    def batches_of(self, start: int, stop: int, **options: int) -> Iterator[list[dict[str, Any]]]:
        """Return this process's batches of the iterations `start` to `stop` - 1; options: ``training_loader``."""
        return training_loader(
            self.cfg, self.dicts, seed=self.seed, rank=rank(), world=world_size(), start=start, stop=stop, **options
        )

    def run_step(self) -> None:
        """Take one step. Raises ``Diverged``, on every process alike, when a loss is not finite."""
        torch.manual_seed(_number(self.seed, self.iter, rank()))
        self.lr = self._next_lr
        batch = next(self.batches)
        try:
            with self.autocast():
                losses = self.wrapped(batch)
            total = torch.stack([value.float() for value in losses.values()]).sum()
        except FloatingPointError:  # Detectron2's proposals found infinite or missing numbers, on every process
            raise Diverged("loss", self.iteration, self.lr) from None
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        # Read after the backward pass has been asked for, and all at once: the device has work while Python waits.
        self.losses = self._averaged(losses)
        if not math.isfinite(self.loss):  # of all processes, so that all go on or stop together
            raise Diverged("loss", self.iteration, self.lr)
        self.optimiser.step()
        self.scheduler.step()

    def scalars(self) -> dict[str, float]:
        """Return what metrics.json keeps of the last step, under Detectron2's names."""
        return {"total_loss": self.loss, **self.losses, "lr": self.lr}

    def shown(self) -> dict[str, str]:
        """Return what the progress bar shows of the last step."""
        parts = {short: f"{self.losses[name]:.2f}" for name, short in SHORT.items() if name in self.losses}
        return {"loss": f"{self.loss:.3f}", "lr": f"{self.lr:.3g}", **parts}

    def autocast(self) -> Any:
        """Return bf16 autocast where the protocol says so (``SOLVER.AMP.ENABLED``)."""
        if not self.cfg.SOLVER.AMP.ENABLED:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _finite_everywhere(self, value: torch.Tensor) -> bool:
        """Say whether a number is finite on every process, so that all go on or stop together."""
        value = value.clone()
        if world_size() > 1:
            dist.all_reduce(value)  # what is not finite on one is not in the sum
        return bool(value.isfinite())

    @torch.no_grad()
    def _averaged(self, losses: dict[str, torch.Tensor]) -> dict[str, float]:
        """Return the losses averaged over processes."""
        values = torch.stack([value.detach().float() for value in losses.values()])
        if world_size() > 1:
            dist.all_reduce(values)
            values /= world_size()
        return dict(zip(losses, values.tolist(), strict=True))

    def is_finite(self) -> bool:
        """Say whether all weights and statistics are numbers, on every process."""
        sums = [t.detach().abs().sum() for t in self.model.state_dict().values() if t.is_floating_point()]
        return self._finite_everywhere(torch.stack(sums).sum())

    def compute_precise_statistics(self, iterations: int) -> None:
        """Replace running by true averages of the batch statistics over `iterations` batches of training images.

        Statistics are those of this process's batches (fvcore's PreciseBN does not join processes); the file that
        rank 0 writes afterwards is what is evaluated. A model without batch norm in training is left alone.

        Raises ``Diverged``, on every process alike, when the detector meets numbers that are not finite.
        """
        if not get_bn_modules(self.model):
            return
        torch.manual_seed(_number(self.seed, self.max_iter, rank()))
        batches = self.batches_of(0, iterations, purpose=STATISTICS)
        shown = progress(batches, "precise batch norm", "it", total=iterations, disable=not is_main())
        try:
            with EventStorage(), torch.no_grad(), self.autocast():
                update_bn_stats(self.model.train(), shown, iterations)
            finite = self.is_finite()
        except FloatingPointError:  # raised on every process together, see model.py
            finite = False
        if not finite:
            raise Diverged("statistics of batch norm", self.max_iter, self.lr)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds after a completed step."""
        parts = {"model": self.model, "optimizer": self.optimiser, "scheduler": self.scheduler}
        return {**super().state(), **{name: part.state_dict() for name, part in parts.items()}}

    def load_state(self, content: dict[str, Any]) -> int:
        """Take over what ``state`` returned; return the iteration to go on with."""
        self.model.load_state_dict(content["model"])
        self.optimiser.load_state_dict(content["optimizer"])
        self.scheduler.load_state_dict(content["scheduler"])
        return super().load_state(content)


def _number(*key: int) -> int:
    """Return a 63-bit seed that is a function of `key`."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
