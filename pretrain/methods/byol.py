"""BYOL (arXiv 2006.07733; code google-deepmind/deepmind-research byol at f5de0ede): predict the momentum branch.

The released code also trains a classifier on features without gradient, to watch the training; it does not touch the
encoder and is left out.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from benchmark.core.options import option
from benchmark.core.value_types import UnitInterval
from pretrain.losses import byol_loss
from pretrain.methods.base import Encoded, LossResult, Method, Progress, Rows, Views, Width
from pretrain.methods.parts import add_momentum_branch, momentum_projections, move_momentum_branch, predictions
from pretrain.networks.heads import hidden
from pretrain.training.config import MethodOptions
from pretrain.training.schedules import ema_momentum


@dataclass(frozen=True)
class BYOLOptions(MethodOptions):
    """Options of the heads and of the momentum branch."""

    projector_width: Width = option(256, "outputs of projector and predictor", group="Method")
    projector_hidden: Width = option(4096, "hidden units of projector and predictor", group="Method")
    ema: UnitInterval = option(
        0.996, "momentum of the momentum branch at the start; cosine to 1 (depends on the length)", group="Method"
    )


class BYOL(Method):
    """The prediction of each view is drawn to the momentum projection of the other."""

    not_as_released = (
        "released for JAX: Haiku's first weights and its colour operations",
        "crops are resized with Pillow's antialiasing, TensorFlow's have none; one that does not fit into the image is "
        "drawn anew instead of cut",
        "an epoch is 312 whole batches of ImageNet; there batches run on over the ends of epochs, so that 1,000 epochs "
        "are 312,784 steps instead of 312,000",
        "without the classifier that only watches the training",
        "lengths other than 40, 100, 300 and 1,000 epochs take the preset that is nearest in ratio",
    )

    Options = BYOLOptions
    options: BYOLOptions

    def build(self, features: int) -> None:
        """Draw projector and predictor, Linear BN ReLU Linear (networks.py:40-45); copy to the momentum branch."""
        width, units = self.options.projector_width, self.options.projector_hidden
        self.projector = nn.Sequential(*hidden(features, units, bias=True), nn.Linear(units, width, bias=False))
        self.predictor = nn.Sequential(*hidden(width, units, bias=True), nn.Linear(units, width, bias=False))
        add_momentum_branch(self)
        self.momentum = self.options.ema

    def encode(self, views: Views) -> Encoded:
        """Return the predictions of both views, (B, width) each."""
        return predictions(self, views)

    def target(self, views: Views) -> tuple[Tensor, ...]:
        """Return the momentum projections of both views, (B, width) each."""
        return momentum_projections(self, views)

    def loss(self, rows: Rows, targets: Rows, labels: Tensor | None = None, details: bool = False) -> LossResult:
        """Return the squared distances of unit vectors, summed over both directions (0 to 8)."""
        return LossResult(byol_loss(*rows, *targets), {"ema": self.momentum})

    def before_step(self, progress: Progress) -> None:
        """Set the momentum: cosine from ``ema`` to 1 over the run (schedules.py:20-24)."""
        self.momentum = ema_momentum(self.options.ema)(progress.fraction)

    def after_step(self, progress: Progress, rows: Rows, targets: Rows) -> None:
        """Let the momentum branch follow, after the optimiser (byol_experiment.py:227-236)."""
        move_momentum_branch(self, self.momentum)
