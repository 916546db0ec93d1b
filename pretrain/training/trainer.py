"""The pre-training loop, one iteration = one global batch. What happens beside it: hooks.

before_step hooks -> lr -> views -> the method's step (methods/base.py, step.py) -> optimiser -> after_step hooks
"""

import math
from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from pretrain.diagnostics.spectrum import effective_rank
from pretrain.engine.failures import Diverged
from pretrain.engine.loop import TrainingLoop
from pretrain.engine.processes import is_main, rank, synchronised_norms, world_size
from pretrain.images.collection import Images
from pretrain.images.labels import find_labels
from pretrain.images.loading import Batch, make_loader, normalised
from pretrain.images.order import epoch_length
from pretrain.images.recipe import ViewSettings
from pretrain.methods.base import Method, Progress
from pretrain.methods.registry import make_method, method_class
from pretrain.training.compiling import compile_encoders
from pretrain.training.config import PretrainConfig
from pretrain.training.learning_rates import learning_rate
from pretrain.training.optimisers import make_optimiser
from pretrain.training.step import NotFinite, Step, StepResult

RANK_SAMPLES = 1024  # rows of the batch that effective ranks are computed from, at most
RANK_DEFINITION = f"covariance eigenvalues, centred, at most {RANK_SAMPLES} rows"


class PretrainTrainer(TrainingLoop):
    """Trains the online branch of a method.

    ``last`` holds the result of the last step, ``batches`` what is still to come, from ``before_train`` on.

    Args:
        config: the resolved config.  paths: the images.  device: of this process.
    """

    def __init__(self, config: PretrainConfig, paths: Images, device: torch.device):
        self.config, self.paths, self.device = config, paths, device
        self.iterations_per_epoch = epoch_length(len(paths), config.batch_size)
        super().__init__(config.epochs * self.iterations_per_epoch, config.log_every, config.batch_size)
        self.local_batch = config.batch_size // world_size()
        self.labels = find_labels(paths) if method_class(config.method).needs_labels else None
        self.method = prepare_method(config, device, len(self.labels.classes) if self.labels else 0)
        groups = self.method.parameter_groups()
        self.optimiser = make_optimiser(config, groups)
        self.settings = [dict(group) for group in self.optimiser.param_groups]  # a checkpoint must agree with them
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.step = Step(
            self.method, wrapped(self.method, device), config.precision, device, self.scaler, config.micro_batch
        )
        self.lr_schedules = [learning_rate(config, group, self.iterations_per_epoch) for group in groups]
        self.last: StepResult | None = None
        self._rank = "-"
        self.batches: Iterator[Batch] = iter(())

    @property
    def epoch(self) -> int:
        """Completed epochs, counted when called after a step."""
        return self.iteration // self.iterations_per_epoch

    def before_train(self) -> None:
        """Start the loader at the first iteration of this part of the run."""
        loader = make_loader(
            self.paths,
            ViewSettings(self.config.image_size, self.config.views, self.config.augmentation.recipes()),
            batch_size=self.local_batch,
            seed=self.config.seed,
            workers=self.config.workers,
            rank=rank(),
            world_size=world_size(),
            start_iteration=self.start_iter,
            total_iterations=self.max_iter,
            pin_memory=self.device.type == "cuda",
            labels=self.labels.numbers if self.labels else None,
            device=self.device,
        )
        self.batches = iter(loader)
        super().before_train()

    def on_device(self, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Return a batch as network input: its views, normalised as the recipe says, and its labels, if any."""
        o = self.config.augmentation
        views = tuple(normalised(view, self.device, o.pixel_mean, o.pixel_std) for view in batch.views)
        return views, None if batch.labels is None else batch.labels.to(self.device, non_blocking=True)

    def run_step(self) -> None:
        """Take one optimiser step on one global batch. Raises ``Diverged`` before a bad step is taken."""
        progress = Progress(self.iter, self.max_iter, self.iterations_per_epoch)
        for group, schedule in zip(self.optimiser.param_groups, self.lr_schedules, strict=True):
            group["lr"] = schedule(self.iter)
        batch: Batch = next(self.batches)
        views, labels = self.on_device(batch)
        self.optimiser.zero_grad(set_to_none=True)
        self.method.before_step(progress)
        try:
            result = self.step(views, labels, self.logs_this_step)
        except NotFinite:
            self._diverged("loss")
        self.method.after_backward(progress)
        result.lr, result.unreadable = self.optimiser.param_groups[0]["lr"], batch.unreadable
        self._step(result)
        # Also after a step that was passed over: every iteration.
        self.method.after_step(progress, result.rows, result.targets)
        if result.features is not None:
            self._diagnose(result)
        self.last = result

    def _diagnose(self, result: StepResult) -> None:
        """Add the effective ranks of backbone and projector to the terms of a logged step, on the main process."""
        if is_main():
            result.parts["effective_rank_backbone"] = effective_rank(result.features[:RANK_SAMPLES])
            if result.projection is not None:
                result.parts["effective_rank_projector"] = effective_rank(result.projection[:RANK_SAMPLES])
        result.features = result.projection = None

    def _step(self, result: StepResult) -> None:
        """Take the optimiser step unless loss or gradient is not finite (fp16's scaler passes over a few by itself)."""
        self.scaler.unscale_(self.optimiser)
        parameters = [p for group in self.optimiser.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        # The one moment in which a step waits for the device: both numbers at once.
        result.loss, result.gradient_norm = torch.stack([result.loss.double(), norm.double()]).tolist()
        if not math.isfinite(result.loss):
            self._diverged("loss")
        if not math.isfinite(result.gradient_norm) and not self._may_overflow():
            self._diverged("gradient")
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def _may_overflow(self) -> bool:
        """Say whether fp16's scale explains a gradient that is not finite: above 1 it multiplies, so it may."""
        return self.scaler.is_enabled() and self.scaler.get_scale() > 1.0

    def _diverged(self, what: str) -> NoReturn:
        raise Diverged(what, self.iter + 1, self.optimiser.param_groups[0]["lr"])

    def scalars(self) -> dict[str, float]:
        """Return loss, lr and what else metrics.json keeps of the last step."""
        last = self.last
        values = {"loss": last.loss, "lr": last.lr, "epoch": self.iteration / self.iterations_per_epoch}
        return {**values, "gradient_norm": last.gradient_norm, **last.parts}

    def shown(self) -> dict[str, str]:
        """Return loss, lr and the effective rank that was computed last."""
        rank_now = self.last.parts.get("effective_rank_backbone")
        self._rank = f"{rank_now:.1f}" if rank_now is not None else self._rank
        return {"loss": f"{self.last.loss:.3f}", "lr": f"{self.last.lr:.3g}", "rank": self._rank}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of the training, after a completed step (plain numbers and tensors)."""
        return {
            **super().state(),
            "model": self.method.state_dict(),
            "optimizer": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": torch.get_rng_state(),
            "epoch": self.epoch,
            "total_epochs": self.config.epochs,
            "method": self.config.method,
        }

    def load_state(self, content: dict[str, Any]) -> int:
        """Take over a checkpoint's state; return the iteration to go on with."""
        self.method.load_state_dict(content["model"])
        self.optimiser.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        torch.set_rng_state(content["rng"])
        return super().load_state(content)


def prepare_method(config: PretrainConfig, device: torch.device, classes: int = 0) -> Method:
    """Return the method on its device, ready to train: batch norm over all processes where it wants that."""
    method = make_method(config, classes)
    if method.synchronised_norms:
        method = synchronised_norms(method, device)
    method = method.to(device, memory_format=torch.channels_last).train()
    if config.compile:
        compile_encoders(method)
    return method


def wrapped(method: Method, device: torch.device) -> torch.nn.Module:
    """Return the module that averages gradients over processes; the method itself when alone."""
    if world_size() == 1:
        return method
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(method, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True)
