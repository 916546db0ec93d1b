"""Kernel-SSL / Matrix-SSL (arXiv 2305.17326; code yifanzhang-pro/Matrix-SSL): matrix entropies of crossed views.

Both views pass encoder, projector and predictor; the momentum branch (encoder and projector) gives the targets. The
loss compares the prediction of each view with the momentum projection of the other: docs/loss.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.core.options import option
from benchmark.core.value_types import UnitInterval
from pretrain.loss_options import LossOptions
from pretrain.losses import kernel_ssl_terms, radius_warning
from pretrain.methods.base import Encoded, LossResult, Method, Progress, Width
from pretrain.networks.heads import siamese_predictor, siamese_projector
from pretrain.networks.momentum import follow, momentum_copy
from pretrain.training.config import MethodOptions
from pretrain.training.schedules import ema_momentum


@dataclass(frozen=True)
class KernelSSLOptions(LossOptions, MethodOptions):
    """Options of the loss, of the heads and of the momentum branch."""

    projector_width: Width = option(2048, "outputs of projector and predictor", group="Method")
    projector_hidden: Width = option(2048, "hidden units of the projector", group="Method")
    predictor_hidden: Width = option(512, "hidden units of the predictor", group="Method")
    ema: UnitInterval = option(0.996, "momentum of the momentum branch at the start; cosine to 1", group="Method")


class KernelSSL(Method):
    """Kernel uniformity and alignment between predictions and momentum projections of crossed views."""

    Options = KernelSSLOptions
    options: KernelSSLOptions

    def build(self, features: int) -> None:
        """Draw projector and predictor; copy encoder and projector to the momentum branch."""
        o = self.options
        self.projector = siamese_projector(features, o.projector_width, o.projector_hidden)
        self.predictor = siamese_predictor(o.projector_width, o.predictor_hidden)
        self.momentum_encoder = momentum_copy(self.encoder)
        self.momentum_projector = momentum_copy(self.projector)
        self.momentum = o.ema

    def encode(self, views: Sequence[Tensor]) -> Encoded:
        """Return the predictions of both views, (B, width) each."""
        features = [self.encoder(views[0])]
        projections = [self.projector(features[0])]
        first = self.predictor(projections[0])
        second = self.predictor(self.projector(self.encoder(views[1])))
        return Encoded((first, second), features[0].detach(), projections[0].detach())

    @torch.no_grad()
    def target(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the momentum projections of both views, (B, width) each."""
        return tuple(self.momentum_projector(self.momentum_encoder(view)) for view in views)

    def loss(
        self,
        rows: Sequence[Tensor],
        targets: Sequence[Tensor],
        labels: Tensor | None = None,
        details: bool = False,
    ) -> LossResult:
        """Return the loss, its two terms, and with `details` the spectral radii of Q - I (Arnoldi's method)."""
        found = kernel_ssl_terms(*rows, *targets, self.options, with_radius=details)
        terms = {"uniformity": found.uniformity, "alignment": found.alignment, "ema": self.momentum}
        for name in ("radius_uniformity", "radius_alignment"):
            if (radius := getattr(found, name)) is not None:
                terms[name] = radius
        return LossResult(found.loss, terms, radius_warning(found, self.options) if details else None)

    def before_step(self, progress: Progress) -> None:
        """Set the momentum: cosine from ``ema`` to 1 over the run."""
        self.momentum = ema_momentum(self.options.ema)(progress.fraction)

    def after_step(self, progress: Progress, rows: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Let the momentum branch follow."""
        follow(
            [(self.momentum_encoder, self.encoder), (self.momentum_projector, self.projector)], self.momentum
        )  # fmt: skip

    def loss_numbers(self, batch: int) -> int:
        """Return the numbers of the Gram or covariance matrix, whichever side is smaller."""
        return min(batch, self.options.projector_width) ** 2
