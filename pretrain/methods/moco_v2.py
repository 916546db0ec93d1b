"""MoCo v2 (arXiv 2003.04297; code facebookresearch/moco at 7397dfe1): queries against a queue of momentum keys.

Batch norm is per process. Keys would betray themselves by the statistics of their batch, so with several processes the
images are dealt out anew before the momentum branch sees them, and the keys are put back in order (builder.py:81-126).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.core.errors import UserError
from benchmark.core.options import option
from benchmark.core.value_types import Count, UnitInterval
from pretrain.engine.processes import gather_with_gradient, rank, world_size
from pretrain.losses import moco_enqueue, moco_v2_loss
from pretrain.methods.base import Encoded, LossResult, Method, Progress, Rows, Temperature, Views, Width
from pretrain.methods.parts import add_momentum_branch, momentum_projections, move_momentum_branch
from pretrain.training.config import MethodOptions, PretrainConfig

if TYPE_CHECKING:
    from pretrain.images.collection import Images


@dataclass(frozen=True)
class MoCoV2Options(MethodOptions):
    """Options of the head, of the queue and of the momentum branch."""

    temperature: Temperature = option(0.2, "of the similarities", group="Method")
    queue_size: Count = option(65536, "keys in the queue; the batch must divide it", group="Method")
    ema: UnitInterval = option(0.999, "momentum of the momentum branch, constant", group="Method")
    projector_width: Width = option(128, "outputs of the projector", group="Method")


RELEASED_PROCESSES = (8, 32)  # processes, and images of a batch in each (256 on 8 GPUs: main_moco.py:68-104)


class MoCoV2(Method):
    """InfoNCE: the key of the same image against all keys in the queue. View 1 gives queries, view 2 keys."""

    not_as_released = (
        "keys are dealt out by the seed and the iteration instead of by the global generator, so that a resumed run "
        "repeats them",
    )

    Options = MoCoV2Options
    options: MoCoV2Options
    synchronised_norms = False

    def build(self, features: int) -> None:
        """Draw the head; copy to the momentum branch; fill the queue with random unit columns (builder.py:50-53)."""
        o = self.options
        self.projector = self.head(features)
        add_momentum_branch(self)
        self.register_buffer("queue", F.normalize(torch.randn(o.projector_width, o.queue_size), dim=0))
        self.register_buffer("queue_ptr", torch.zeros((), dtype=torch.long))
        self.iteration = 0
        self._place: int | None = None  # the pointer, once it was read: on a GPU every reading waits for the device

    def head(self, features: int) -> nn.Module:
        """Return the projector: Linear ReLU Linear with biases, without batch norm (builder.py:37-41)."""
        return nn.Sequential(
            nn.Linear(features, features), nn.ReLU(inplace=True), nn.Linear(features, self.options.projector_width)
        )

    def encode(self, views: Views) -> Encoded:
        """Return the queries, (B, width): projections of view 1, not yet normalised."""
        features = self.encoder(views[0])
        query = self.projector(features)
        return Encoded((query,), features.detach(), query.detach())

    @torch.no_grad()
    def target(self, views: Views) -> tuple[Tensor, ...]:
        """Return the keys, (B, width): momentum projections of view 2, computed on images dealt out anew."""
        if world_size() == 1:
            return momentum_projections(self, views[1:])
        images = gather_with_gradient(views[1])
        size, here = len(views[1]), rank()
        order = torch.from_numpy(np.random.default_rng((self.config.seed, self.iteration, 13)).permutation(len(images)))
        own = slice(here * size, (here + 1) * size)
        (shuffled,) = momentum_projections(self, [images[order[own].to(images.device)]])
        shuffled = gather_with_gradient(shuffled)
        keys = torch.empty_like(shuffled)
        keys[order.to(keys.device)] = shuffled
        return (keys[own],)

    def loss(self, rows: Rows, targets: Rows, labels: Tensor | None = None, details: bool = False) -> LossResult:
        """Return InfoNCE against the queue as it was before this batch."""
        return LossResult(moco_v2_loss(*rows, *targets, self.queue, temperature=self.options.temperature))

    def before_step(self, progress: Progress) -> None:
        """Let the momentum branch follow, before the keys are computed (builder.py:141-149)."""
        self.iteration = progress.iteration
        move_momentum_branch(self, self.options.ema)

    def after_step(self, progress: Progress, rows: Rows, targets: Rows) -> None:
        """Put this batch's keys in the place of the oldest."""
        if self._place is None:
            self._place = int(self.queue_ptr)
        queue, self._place = moco_enqueue(self.queue, targets[0], self._place)
        self.queue.copy_(queue)
        self.queue_ptr.fill_(self._place)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._place = None  # the pointer is about to change
        super()._load_from_state_dict(*arguments)

    def loss_numbers(self, batch: int) -> int:
        """Return the numbers of the similarities of queries and queue."""
        return batch * self.options.queue_size

    @classmethod
    def departures(cls, config: PretrainConfig, processes: int) -> tuple[str, ...]:
        """Return also how many images a batch norm sees, where the released run's 8 processes of 32 are others."""
        images = config.batch_size // processes
        if (processes, images) == RELEASED_PROCESSES:
            return cls.not_as_released
        shuffled = "" if processes > 1 else ", and one process has no others to shuffle keys with"
        here = f"{processes} process{'es' * (processes > 1)} of {images}"
        said = f"batch norm sees the images of its process: {here}, in the released run 8 of 32{shuffled}"
        return (*cls.not_as_released, said)

    @classmethod
    def check(cls, config: PretrainConfig, paths: "Images") -> None:
        """Raise ``UserError`` where the batch does not divide the queue."""
        size = config.options.queue_size
        if size % config.batch_size:
            raise UserError(
                f"--queue-size {size} is not a multiple of --batch-size {config.batch_size}; change either, so that "
                "each batch of keys takes the place of a whole older one."
            )
