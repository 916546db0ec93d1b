"""Kernel-SSL / Matrix-SSL (arXiv 2305.17326; code yifanzhang-pro/Matrix-SSL): matrix entropies of crossed views.

Both views pass encoder, projector and predictor; the momentum branch (encoder and projector) gives the targets. The
loss compares the prediction of each view with the momentum projection of the other: docs/loss.md.
"""

from dataclasses import dataclass

from torch import Tensor

from benchmark.core.options import option
from benchmark.core.value_types import UnitInterval
from pretrain.loss_options import LossOptions
from pretrain.losses import kernel_ssl_terms, radius_warning
from pretrain.methods.base import Encoded, LossResult, Method, Progress, Rows, Views, Width
from pretrain.methods.parts import add_momentum_branch, momentum_projections, move_momentum_branch, predictions
from pretrain.networks.heads import siamese_predictor, siamese_projector
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
        add_momentum_branch(self)
        self.momentum = o.ema

    def encode(self, views: Views) -> Encoded:
        """Return the predictions of both views, (B, width) each."""
        return predictions(self, views)

    def target(self, views: Views) -> tuple[Tensor, ...]:
        """Return the momentum projections of both views, (B, width) each."""
        return momentum_projections(self, views)

    def loss(self, rows: Rows, targets: Rows, labels: Tensor | None = None, details: bool = False) -> LossResult:
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

    def after_step(self, progress: Progress, rows: Rows, targets: Rows) -> None:
        """Let the momentum branch follow."""
        move_momentum_branch(self, self.momentum)

    def loss_numbers(self, batch: int) -> int:
        """Return the numbers of the Gram or covariance matrix, whichever side is smaller."""
        return min(batch, self.options.projector_width) ** 2
