"""Forward, loss and backward of one batch, at once or by gradient caching; the same for every method."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pretrain.engine.processes import gather_with_gradient
from pretrain.methods.base import Encoded, LossResult, Method, Views
from pretrain.training.gradient_cache import (
    backward_through_cache,
    encode_without_graph,
    frozen_running_statistics,
    micro_batches,
    one_update,
)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class NotFinite(ArithmeticError):
    """What the network returned is not finite, so that the terms for the log cannot be computed."""


@dataclass
class StepResult:
    """What hooks may look at after a step; tensors are detached and hold the global batch's rows of view 1.

    ``loss`` is a 0-dimensional tensor until the step is taken. ``gradient_norm`` is not finite in a step that fp16's
    scaler passed over. ``parts`` are the method's terms; ``features`` and ``projection`` (of view 1) are set when
    details were asked for. ``rows`` and ``targets`` are the gathered ones, for the method.
    """

    loss: Any
    gradient_norm: float = math.nan
    lr: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    features: Tensor | None = None
    projection: Tensor | None = None
    warning: str | None = None
    unreadable: tuple[str, ...] = ()
    rows: tuple[Tensor, ...] = ()
    targets: tuple[Tensor, ...] = ()


class Step:
    """Fills the gradients of a method's parameters.

    Args:
        method: whose loss it is.
        encode: the method itself, or its DistributedDataParallel wrapper.
        precision: of the network, ``fp32``, ``bf16`` or ``fp16``; rows and loss are float32.
        device: of this process.
        scaler: multiplies the loss under fp16, where it is enabled.
        micro_batch: images in memory at a time (gradient caching); None: the whole batch.
    """

    def __init__(
        self,
        method: Method,
        encode: nn.Module,
        precision: str,
        device: torch.device,
        scaler: torch.amp.GradScaler,
        micro_batch: int | None = None,
    ):
        self.method, self.encode, self.scaler = method, encode, scaler
        self.precision, self.device, self.micro_batch = precision, device, micro_batch

    def __call__(self, views: Views, labels: Tensor | None, details: bool) -> StepResult:
        """Compute loss and gradients of this process's views; raises ``NotFinite`` when details are wanted of NaN."""
        if self.micro_batch and self.micro_batch < len(views[0]):
            return self.cached(views, labels, details)
        return self.direct(views, labels, details)

    def _autocast(self) -> Any:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, DTYPES[self.precision])

    def direct(self, views: Views, labels: Tensor | None, details: bool) -> StepResult:
        """Forward, loss and backward of the whole local batch at once."""
        with self._autocast():
            encoded = self.encode(views)
            targets = self.method.target(views)
        loss, result = self._loss(encoded, targets, labels, details)
        self.scaler.scale(loss).backward()
        return result

    def cached(self, views: Views, labels: Tensor | None, details: bool) -> StepResult:
        """The same with gradient caching: memory follows the micro-batch."""
        size = self.micro_batch or len(views[0])

        def encode(part: Views) -> Encoded:
            with self._autocast():
                return self.encode(part)

        with frozen_running_statistics(self.method):
            encoded = encode_without_graph(encode, views, size)
        pieces = len(views[0]) // size
        with torch.no_grad(), self._autocast(), one_update(self.method, pieces):
            parts = [self.method.target(part) for part in micro_batches(views, size)]
        targets = tuple(torch.cat(rows) for rows in zip(*parts, strict=True))
        leaves = tuple(rows.float().requires_grad_() for rows in encoded.rows)
        loss, result = self._loss(encoded._replace(rows=leaves), targets, labels, details)
        self.scaler.scale(loss).backward()
        with one_update(self.method, pieces):
            backward_through_cache(self.encode, encode, views, [leaf.grad for leaf in leaves], size)
        return result

    def _loss(
        self, encoded: Encoded, targets: Sequence[Tensor], labels: Tensor | None, details: bool
    ) -> tuple[Tensor, StepResult]:
        """Return the loss on the rows of all processes, and the result to be completed by the trainer."""
        rows = tuple(gather_with_gradient(x.float()) for x in encoded.rows)
        fixed = tuple(gather_with_gradient(x.float()) for x in targets)
        labels = None if labels is None else gather_with_gradient(labels)
        if details and not all(torch.isfinite(x).all() for x in (*rows, *fixed)):
            raise NotFinite  # a spectral radius, for one, cannot be computed of it
        found: LossResult = self.method.loss(rows, fixed, labels, details)
        result = StepResult(found.total.detach(), rows=tuple(x.detach() for x in rows), targets=fixed)
        if details:
            result.parts = {
                name: float(value.detach() if isinstance(value, Tensor) else value)
                for name, value in found.terms.items()
            }
            result.warning = found.warning
            result.features = gather_with_gradient(encoded.features)
            result.projection = None if encoded.projection is None else gather_with_gradient(encoded.projection)
        return found.total, result
