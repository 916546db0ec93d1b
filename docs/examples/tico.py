"""TiCo (arXiv 2206.10698): transformation invariance and covariance contrast.

An example of a method of one's own. Copied to pretrain/methods/, it is ``--method tico``.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.core.options import option
from benchmark.core.value_types import NonNegativeFloat, UnitInterval
from pretrain.methods.base import Encoded, LossResult, Method, Progress, Rows, Views, Width
from pretrain.methods.parts import add_momentum_branch, momentum_projections, move_momentum_branch
from pretrain.networks.heads import hidden
from pretrain.training.config import MethodOptions
from pretrain.training.schedules import ema_momentum


@dataclass(frozen=True)
class TiCoOptions(MethodOptions):
    """Options of the head and of the loss."""

    projector_width: Width = option(256, "outputs of the projector", group="Method")
    projector_hidden: Width = option(4096, "hidden units of the projector", group="Method")
    ema: UnitInterval = option(0.99, "momentum of the momentum branch at the start; cosine to 1", group="Method")
    beta: UnitInterval = option(0.9, "share of the old covariance that is kept", group="Method")
    rho: NonNegativeFloat = option(20.0, "weight of the covariance", group="Method")


class TiCo(Method):
    """View 1 agrees with the momentum branch's view 2, and avoids directions that features have taken lately."""

    Options = TiCoOptions
    options: TiCoOptions

    def build(self, features: int) -> None:
        """Draw the projector, copy to the momentum branch, begin with a covariance of zeros."""
        o = self.options
        self.projector = nn.Sequential(
            *hidden(features, o.projector_hidden), nn.Linear(o.projector_hidden, o.projector_width)
        )
        add_momentum_branch(self)
        self.register_buffer("covariance", torch.zeros(o.projector_width, o.projector_width))
        self.momentum = o.ema

    def encode(self, views: Views) -> Encoded:
        """Return the projection of view 1, (B, width)."""
        features = self.encoder(views[0])
        projection = self.projector(features)
        return Encoded((projection,), features.detach(), projection.detach())

    def target(self, views: Views) -> tuple[Tensor, ...]:
        """Return the momentum projection of view 2, (B, width)."""
        return momentum_projections(self, views[1:])

    def loss(self, rows: Rows, targets: Rows, labels: Tensor | None = None, details: bool = False) -> LossResult:
        """Return 1 - cosine + rho z' C z, means over the batch; this batch counts in C, with gradient."""
        online, target = F.normalize(rows[0], dim=1), F.normalize(targets[0], dim=1)
        invariance = 1 - (online * target).sum(1).mean()
        contrast = (online @ self._moved(online) * online).sum(1).mean()
        return LossResult(invariance + self.options.rho * contrast, {"invariance": invariance, "contrast": contrast})

    def _moved(self, online: Tensor) -> Tensor:
        beta = self.options.beta
        return beta * self.covariance + (1 - beta) * online.T @ online / len(online)

    def before_step(self, progress: Progress) -> None:
        """Set the momentum: cosine from ``ema`` to 1 over the run."""
        self.momentum = ema_momentum(self.options.ema)(progress.fraction)

    def after_step(self, progress: Progress, rows: Rows, targets: Rows) -> None:
        """Keep the covariance; let the momentum branch follow."""
        self.covariance.copy_(self._moved(F.normalize(rows[0], dim=1)))
        move_momentum_branch(self, self.momentum)
