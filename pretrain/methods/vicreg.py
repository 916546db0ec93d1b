"""VICReg (arXiv 2105.04906; code facebookresearch/vicreg at 4e12602f): variance, invariance, covariance."""

from dataclasses import dataclass

from torch import Tensor

from benchmark.core.options import option
from benchmark.core.value_types import NonNegativeFloat
from pretrain.losses import vicreg_loss
from pretrain.methods.base import DROPS_LAST, FLOAT32_LOSS, Encoded, LossResult, Method, Rows, Views, Width
from pretrain.methods.parts import projections
from pretrain.networks.heads import deep_projector
from pretrain.training.config import MethodOptions


@dataclass(frozen=True)
class VICRegOptions(MethodOptions):
    """Options of the expander and of the loss."""

    projector_width: Width = option(8192, "outputs and hidden units of the expander", group="Method")
    sim_coeff: NonNegativeFloat = option(25.0, "weight of the invariance", group="Method")
    std_coeff: NonNegativeFloat = option(
        25.0, "weight of the variance, whose two views are averaged (12.5 in the paper's terms)", group="Method"
    )
    cov_coeff: NonNegativeFloat = option(1.0, "weight of the covariance", group="Method")


class VICReg(Method):
    """Views agree, every feature varies, and no two features vary together."""

    not_as_released = (
        FLOAT32_LOSS,
        DROPS_LAST,
        "lengths other than 100 and 1,000 take the nearest one's learning rate",
    )

    Options = VICRegOptions
    options: VICRegOptions

    def build(self, features: int) -> None:
        """Draw the expander, two hidden layers with biases and a last one without (main_vicreg.py:223-232)."""
        width = self.options.projector_width
        self.projector = deep_projector(features, width, width, bias=True)

    def encode(self, views: Views) -> Encoded:
        """Return the expanded features of both views, (B, width) each."""
        return projections(self, views)

    def loss(self, rows: Rows, targets: Rows, labels: Tensor | None = None, details: bool = False) -> LossResult:
        """Return the weighted sum of the three terms."""
        o = self.options
        return LossResult(vicreg_loss(*rows, sim_coeff=o.sim_coeff, std_coeff=o.std_coeff, cov_coeff=o.cov_coeff))

    def loss_numbers(self, batch: int) -> int:
        """Return the numbers of a covariance matrix."""
        return self.options.projector_width**2
