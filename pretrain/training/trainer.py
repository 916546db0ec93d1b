"""The pre-training loop, one iteration = one global batch. What happens beside it: hooks.

before_step hooks -> lr -> views -> online and momentum outputs -> gather -> loss -> step -> EMA -> after_step hooks
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from pretrain.diagnostics.spectrum import effective_rank
from pretrain.engine.failures import Diverged
from pretrain.engine.loop import TrainingLoop
from pretrain.engine.processes import gather_with_gradient, is_main, rank, synchronised_norms, world_size
from pretrain.images.loading import Batch, PathList, epoch_length, make_loader, normalised
from pretrain.images.recipe import PUBLISHED, ViewSettings
from pretrain.methods import make_method
from pretrain.networks.encoder import Branches, Outputs
from pretrain.training.config import PretrainConfig
from pretrain.training.gradient_cache import backward_through_cache, features_without_graph, frozen_running_statistics
from pretrain.training.optimisers import make_optimiser
from pretrain.training.schedules import ema_momentum, warm_up_then_cosine

RANK_SAMPLES = 1024  # rows of the batch that effective ranks are computed from, at most
RANK_DEFINITION = f"covariance eigenvalues, centred, at most {RANK_SAMPLES} rows"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class StepResult:
    """What hooks may look at after a step; tensors are detached and hold the global batch's rows of view 1.

    ``loss`` is a 0-dimensional tensor until the step is taken. ``gradient_norm`` is not finite in a step that fp16's
    scaler passed over. ``parts`` are the method's terms; ``features`` and ``projection`` (of view 1) are set when
    details were asked for.
    """

    loss: Any
    gradient_norm: float = math.nan
    lr: float = 0.0
    momentum: float = 1.0
    parts: dict[str, float] = field(default_factory=dict)
    features: Tensor | None = None
    projection: Tensor | None = None
    warning: str | None = None
    unreadable: tuple[str, ...] = ()


class PretrainTrainer(TrainingLoop):
    """Trains the online branch of a method; ``last`` holds the result of the last step.

    Args:
        config: the resolved config.  paths: the images.  device: of this process.
    """

    def __init__(self, config: PretrainConfig, paths: PathList, device: torch.device):
        self.config, self.paths, self.device = config, paths, device
        self.iterations_per_epoch = epoch_length(len(paths), config.batch_size)
        super().__init__(config.epochs * self.iterations_per_epoch, config.log_every, config.batch_size)
        self.local_batch = config.batch_size // world_size()
        self.method = make_method(config)
        self.branches = self._make_branches()
        self.optimiser = make_optimiser(config, self.branches.online())
        self.settings = [dict(group) for group in self.optimiser.param_groups]  # a checkpoint must agree with them
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.online = self._wrapped(self.branches.online())
        warmup = round(config.warmup * self.iterations_per_epoch)
        self.lr_schedule = warm_up_then_cosine(config.scaled_lr, self.max_iter, warmup, "linspace")
        self.ema_schedule = ema_momentum(config.ema)
        self.last: StepResult | None = None
        self._rank = "-"
        self._batches: Any = None

    def _make_branches(self) -> Branches:
        c = self.config
        branches = Branches(c.arch, c.projector_width, c.projector_hidden, c.predictor_hidden, c.seed)
        branches = synchronised_norms(branches, self.device)
        return branches.to(self.device, memory_format=torch.channels_last).train()

    def _wrapped(self, online: torch.nn.Module) -> torch.nn.Module:
        if world_size() == 1:
            return online
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(
            online, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True
        )

    @property
    def epoch(self) -> int:
        """Completed epochs, counted when called after a step."""
        return self.iteration // self.iterations_per_epoch

    def before_train(self) -> None:
        """Start the loader at the first iteration of this part of the run."""
        loader = make_loader(
            self.paths,
            ViewSettings(self.config.image_size, self.config.views, PUBLISHED[self.config.method]),
            batch_size=self.local_batch,
            seed=self.config.seed,
            workers=self.config.workers,
            rank=rank(),
            world_size=world_size(),
            start_iteration=self.start_iter,
            total_iterations=self.max_iter,
            pin_memory=self.device.type == "cuda",
        )
        self._batches = iter(loader)
        super().before_train()

    def run_step(self) -> None:
        """Take one optimiser step on one global batch. Raises ``Diverged`` before a bad step is taken."""
        progress = self.iter / self.max_iter
        lr, momentum = self.lr_schedule(self.iter), self.ema_schedule(progress)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        batch: Batch = next(self._batches)
        views = tuple(normalised(view, self.device) for view in batch.views)
        self.optimiser.zero_grad(set_to_none=True)
        micro_batch = self.config.micro_batch or self.local_batch
        compute = self._direct if micro_batch >= self.local_batch else self._cached
        result = compute(views, self.logs_this_step)
        result.lr, result.momentum, result.unreadable = lr, momentum, batch.unreadable
        self._step(result)
        if result.features is not None:
            self._diagnose(result)
        self.branches.update_momentum(momentum)  # also after a step that was passed over: every iteration
        self.last = result

    def _diagnose(self, result: StepResult) -> None:
        """Add the effective ranks of backbone and projector to the terms of a logged step, on the main process."""
        if is_main():
            result.parts["effective_rank_backbone"] = effective_rank(result.features[:RANK_SAMPLES])
            result.parts["effective_rank_projector"] = effective_rank(result.projection[:RANK_SAMPLES])
        result.features = result.projection = None

    def _autocast(self) -> Any:
        if self.config.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, DTYPES[self.config.precision])

    def _direct(self, views: tuple[Tensor, Tensor], details: bool) -> StepResult:
        """Forward, loss and backward of the whole local batch at once."""
        with self._autocast():
            outputs: list[Outputs] = [self.online(view) for view in views]
            targets = [self.branches.momentum(view) for view in views]
        loss, result = self._loss([output.prediction for output in outputs], targets, details)
        if details:
            result.features = gather_with_gradient(outputs[0].features.detach())
            result.projection = gather_with_gradient(outputs[0].projection.detach())
        self.scaler.scale(loss).backward()
        return result

    def _cached(self, views: tuple[Tensor, Tensor], details: bool) -> StepResult:
        """The same with gradient caching: memory follows --micro-batch."""
        size = self.config.micro_batch or self.local_batch
        module = self.branches.online()

        def predict(part: Tensor) -> Tensor:
            with self._autocast():
                return self.online(part).prediction

        with frozen_running_statistics(self.branches):
            cached = [features_without_graph(predict, view, size).float().requires_grad_() for view in views]
            if details:
                with torch.no_grad(), self._autocast():
                    parts = [module(part) for part in views[0].split(size)]
        with self._autocast():
            targets = [torch.cat([self.branches.momentum(part) for part in view.split(size)]) for view in views]
        loss, result = self._loss(cached, targets, details)
        if details:
            result.features = gather_with_gradient(torch.cat([part.features for part in parts]))
            result.projection = gather_with_gradient(torch.cat([part.projection for part in parts]))
        gradients = torch.autograd.grad(self.scaler.scale(loss), cached)
        backward_through_cache(self.online, predict, views, gradients, size)
        return result

    def _loss(self, online: list[Tensor], targets: list[Tensor], details: bool) -> tuple[Tensor, StepResult]:
        """Return the loss on the gathered rows, and the result to be completed by the step."""
        gathered = [gather_with_gradient(x.float()) for x in (*online, *targets)]
        if details and not all(torch.isfinite(x).all() for x in gathered):
            self._diverged("loss")  # the spectral radius of what is no number cannot be computed
        loss, parts, warning = self.method.terms(*gathered, with_details=details)
        numbers = {name: float(part) for name, part in parts.items()} if details else {}
        return loss, StepResult(loss.detach(), parts=numbers, warning=warning if details else None)

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
        return {**values, "ema": last.momentum, "gradient_norm": last.gradient_norm, **last.parts}

    def shown(self) -> dict[str, str]:
        """Return loss, lr and the effective rank that was computed last."""
        rank_now = self.last.parts.get("effective_rank_backbone")
        self._rank = f"{rank_now:.1f}" if rank_now is not None else self._rank
        return {"loss": f"{self.last.loss:.3f}", "lr": f"{self.last.lr:.3g}", "rank": self._rank}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of the training, after a completed step (plain numbers and tensors)."""
        return {
            **super().state(),
            "model": self.branches.state_dict(),
            "optimizer": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": torch.get_rng_state(),
            "epoch": self.epoch,
            "total_epochs": self.config.epochs,
            "method": self.config.method,
        }

    def load_state(self, content: dict[str, Any]) -> int:
        """Take over a checkpoint's state; return the iteration to go on with."""
        self.branches.load_state_dict(content["model"])
        self.optimiser.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        torch.set_rng_state(content["rng"])
        return super().load_state(content)
