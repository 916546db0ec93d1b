"""MEC (arXiv 2210.11464; code xinliu20/MEC at 35045dc0): maximum entropy coding of crossed views."""

from dataclasses import dataclass

from torch import Tensor

from benchmark.core.options import option
from benchmark.core.value_types import NonNegativeFloat, PositiveFloat, UnitInterval
from pretrain.loss_options import Order
from pretrain.losses import mec_lamda_inv, mec_loss
from pretrain.methods.base import Encoded, LossResult, Method, Progress, Rows, Views, Width
from pretrain.methods.parts import add_momentum_branch, momentum_projections, move_momentum_branch, predictions
from pretrain.networks.heads import siamese_predictor, siamese_projector
from pretrain.training.config import MethodOptions
from pretrain.training.schedules import constant, ema_momentum, warm_up


@dataclass(frozen=True)
class MECOptions(MethodOptions):
    """Options of the heads, of the momentum branch and of the coding length."""

    projector_width: Width = option(2048, "outputs of projector and predictor", group="Method")
    projector_hidden: Width = option(2048, "hidden units of the projector", group="Method")
    predictor_hidden: Width = option(512, "hidden units of the predictor", group="Method")
    ema: UnitInterval = option(0.996, "momentum of the momentum branch at the start; cosine to 1", group="Method")
    eps: PositiveFloat = option(64.0, "distortion times the width of the features", group="Method")
    order: Order = option(4, "order of the series", group="Method")
    lamda_warmup: PositiveFloat = option(8.0, "factor on 1 / lamda at the beginning", group="Method")
    lamda_epochs: NonNegativeFloat = option(10.0, "epochs in which that factor falls to 1", group="Method")


class MEC(Method):
    """Minus the coding length of each view's prediction with the momentum projection of the other."""

    Options = MECOptions
    options: MECOptions

    def build(self, features: int) -> None:
        """Draw SimSiam's heads; copy encoder and projector to the momentum branch (mec/builder.py:23-42)."""
        o = self.options
        self.projector = siamese_projector(features, o.projector_width, o.projector_hidden)
        self.predictor = siamese_predictor(o.projector_width, o.predictor_hidden)
        add_momentum_branch(self)
        self.momentum, self.warmup = o.ema, o.lamda_warmup

    def encode(self, views: Views) -> Encoded:
        """Return the predictions of both views, (B, width) each."""
        return predictions(self, views)

    def target(self, views: Views) -> tuple[Tensor, ...]:
        """Return the momentum projections of both views, (B, width) each."""
        return momentum_projections(self, views)

    def loss(self, rows: Rows, targets: Rows, labels: Tensor | None = None, details: bool = False) -> LossResult:
        """Return minus the coding length, and what it depends on beside the rows."""
        o = self.options
        total = mec_loss(*rows, *targets, eps=o.eps, order=o.order, warmup=self.warmup)
        lamda_inv = mec_lamda_inv(*rows[0].shape, eps=o.eps, warmup=self.warmup)
        return LossResult(total, {"ema": self.momentum, "lamda_inv": lamda_inv})

    def before_step(self, progress: Progress) -> None:
        """Set the momentum (cosine to 1) and the factor on 1 / lamda (main_pretrain.py:488-497)."""
        o = self.options
        self.momentum = ema_momentum(o.ema)(progress.fraction)
        length = round(o.lamda_epochs * progress.per_epoch)
        falling = warm_up(constant(1.0), 1.0, length, "linspace", start=o.lamda_warmup)
        self.warmup = falling(progress.iteration)

    def after_step(self, progress: Progress, rows: Rows, targets: Rows) -> None:
        """Let the momentum branch follow, after the optimiser (main_pretrain.py:352-355)."""
        move_momentum_branch(self, self.momentum)

    def loss_numbers(self, batch: int) -> int:
        """Return the numbers of the similarities, on the smaller side."""
        return min(batch, self.options.projector_width) ** 2
