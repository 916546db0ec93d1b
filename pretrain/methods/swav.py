"""SwAV (arXiv 2006.09882; code facebookresearch/swav at 06b1b7cb), with two views: swapped codes of prototypes.

Both views pass the network in one forward pass, so that batch norm takes its statistics over both (src/resnet50.py's
``forward`` joins crops of one size). Codes are balanced over the whole batch of all processes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from benchmark.core.errors import UserError
from benchmark.core.options import option
from benchmark.core.value_types import Count, CountOrZero, NonNegativeFloat, PositiveFloat
from pretrain.losses import swav_enqueue, swav_loss
from pretrain.methods.base import Encoded, LossResult, Method, Progress, Rows, Temperature, Views, Width
from pretrain.methods.parts import joint_projections
from pretrain.networks.heads import hidden
from pretrain.training.config import MethodOptions, PretrainConfig

if TYPE_CHECKING:
    from pretrain.images.collection import Images


@dataclass(frozen=True)
class SwAVOptions(MethodOptions):
    """Options of the head, of the prototypes and of the queue."""

    projector_width: Width = option(128, "outputs of the projector", group="Method")
    projector_hidden: Width = option(2048, "hidden units of the projector", group="Method")
    prototypes: Count = option(3000, "prototypes", group="Method")
    frozen_iterations: CountOrZero = option(313, "iterations at the start in which they stay", group="Method")
    temperature: Temperature = option(0.1, "of the prediction", group="Method")
    epsilon: PositiveFloat = option(
        0.05, "of the codes; 0.03 where the loss sticks at the logarithm of the prototypes' number", group="Method"
    )
    sinkhorn_iterations: Annotated[int, Field(ge=0, le=1000)] = option(3, "of the balancing", group="Method")
    queue_size: CountOrZero = option(
        0, "features of earlier batches that take part in the balancing; for small batches", group="Method"
    )
    queue_epochs: NonNegativeFloat = option(15.0, "epochs after which the queue begins to fill", group="Method")


class SwAV(Method):
    """The code of each view is predicted from the other view."""

    not_as_released = (
        "batch norm over all processes instead of groups of 8 GPUs",
        "native fp16 autocast instead of apex O1",
        "with a queue, one queue of all processes instead of one each",
    )

    Options = SwAVOptions
    options: SwAVOptions

    def build(self, features: int) -> None:
        """Draw projector and prototypes (src/resnet50.py:205-217); the prototypes have no bias."""
        o = self.options
        self.projector = nn.Sequential(
            *hidden(features, o.projector_hidden, bias=True), nn.Linear(o.projector_hidden, o.projector_width)
        )
        self.prototypes = nn.Linear(o.projector_width, o.prototypes, bias=False)
        if o.queue_size:
            self.register_buffer("queue", torch.zeros(2, o.queue_size, o.projector_width))
        self._full: bool | None = None  # not known: looked up, since on a GPU every look waits for the device

    def encode(self, views: Views) -> Encoded:
        """Return the projections of both views, (B, width) each, from one joint forward pass."""
        return joint_projections(self, views)

    def loss(self, rows: Rows, targets: Rows, labels: Tensor | None = None, details: bool = False) -> LossResult:
        """Return the cross-entropy of swapped codes; the queue takes part once it is full (main_swav.py:294-304)."""
        o = self.options
        if self._full is None:
            self._full = bool(o.queue_size) and bool(self.queue[0, -1].any())
        queues = tuple(self.queue) if self._full else (None, None)
        total = swav_loss(
            *rows,
            self.prototypes.weight,
            *queues,
            temperature=o.temperature,
            epsilon=o.epsilon,
            sinkhorn_iterations=o.sinkhorn_iterations,
        )
        return LossResult(total)

    @torch.no_grad()
    def before_step(self, progress: Progress) -> None:
        """Normalise the prototypes (main_swav.py:277-281)."""
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))

    def after_backward(self, progress: Progress) -> None:
        """Let the prototypes stay in the first iterations: no gradient, no decay, no momentum (:325-328)."""
        if progress.iteration < self.options.frozen_iterations:
            self.prototypes.weight.grad = None

    def after_step(self, progress: Progress, rows: Rows, targets: Rows) -> None:
        """Put this batch's features in front of the queue."""
        if self.options.queue_size and progress.epoch >= self.options.queue_epochs:
            for queue, view in zip(self.queue, rows, strict=True):
                queue.copy_(swav_enqueue(queue, view))
            self._full = self._full or None

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._full = None  # the queue is about to change
        super()._load_from_state_dict(*arguments)

    def loss_numbers(self, batch: int) -> int:
        """Return the numbers of the similarities of all rows and prototypes."""
        return (2 * batch + self.options.queue_size) * self.options.prototypes

    @classmethod
    def check(cls, config: PretrainConfig, paths: "Images") -> None:
        """Raise ``UserError`` where prototypes cannot be used equally, or the queue is no whole number of batches."""
        o, images = config.options, len(paths)
        if images < o.prototypes:
            raise UserError(
                f"--prototypes {o.prototypes} is more than the {images} images, so that some would stay empty; give "
                "fewer."
            )
        if 0 < o.queue_size < config.batch_size:
            raise UserError(
                f"--queue-size {o.queue_size} holds less than --batch-size {config.batch_size}; give a longer queue, "
                "or 0 for none."
            )
        if o.queue_size % config.batch_size:
            raise UserError(
                f"--queue-size {o.queue_size} is not a multiple of --batch-size {config.batch_size}; change either, so "
                "that each batch takes the place of a whole older one."
            )
        if config.batch_size + o.queue_size < o.prototypes:
            raise UserError(
                f"--batch-size {config.batch_size} and --queue-size {o.queue_size} together are fewer than "
                f"--prototypes {o.prototypes}, so that codes cannot use them equally; give fewer prototypes or a "
                "longer queue."
            )
