"""Barlow Twins (arXiv 2103.03230; code facebookresearch/barlowtwins at 8e8d284c): features that agree, uncorrelated.

On several processes the released code divides the gradient by their number (its all_reduce of the correlation carries
none, main.py:215-216). LARS hides that for the weights, not for biases and batch norm, nor in the weight decay.
``--gradient released`` does the same and is the default; ``--gradient exact`` is the gradient of the loss.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from benchmark.core.options import option
from benchmark.core.value_types import NonNegativeFloat, PositiveFloat
from pretrain.engine.processes import world_size
from pretrain.losses import barlow_twins_loss
from pretrain.methods.base import (
    DROPS_LAST,
    FLOAT32_LOSS,
    Encoded,
    LossResult,
    Method,
    ParameterGroup,
    Rows,
    Views,
    Width,
)
from pretrain.methods.parts import projections
from pretrain.networks.heads import deep_projector
from pretrain.training.config import MethodOptions


@dataclass(frozen=True)
class BarlowTwinsOptions(MethodOptions):
    """Options of the projector, of the loss and of the second learning rate."""

    projector_width: Width = option(8192, "outputs and hidden units of the projector", group="Method")
    lambd: NonNegativeFloat = option(0.0051, "weight of the off-diagonal; the paper says 0.005", group="Method")
    lr_biases: PositiveFloat = option(
        0.0048, "peak learning rate of biases and batch norm, before it is scaled with the batch", group="Method"
    )
    gradient: Literal["released", "exact"] = option(
        "released", "on several processes: divided by their number as in the released code, or exact", group="Method"
    )


class BarlowTwins(Method):
    """The cross-correlation of both views' features is drawn to the identity."""

    not_as_released = (FLOAT32_LOSS, DROPS_LAST)

    Options = BarlowTwinsOptions
    options: BarlowTwinsOptions

    def build(self, features: int) -> None:
        """Draw the projector, two hidden layers without biases (main.py:194-205)."""
        width = self.options.projector_width
        self.projector = deep_projector(features, width, width)

    def encode(self, views: Views) -> Encoded:
        """Return the projections of both views, (B, width) each."""
        return projections(self, views)

    def loss(self, rows: Rows, targets: Rows, labels: Tensor | None = None, details: bool = False) -> LossResult:
        """Return the squared distance of the cross-correlation from the identity, weighted off its diagonal."""
        processes = world_size() if self.options.gradient == "released" else 1
        return LossResult(barlow_twins_loss(*rows, lambd=self.options.lambd, processes=processes))

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the weights, and biases and batch norm (one dimension) with their own learning rate."""
        return [
            ParameterGroup([parameter for parameter in self.trainable() if parameter.ndim > 1]),
            ParameterGroup([p for p in self.trainable() if p.ndim <= 1], lr=self.options.lr_biases),
        ]

    def loss_numbers(self, batch: int) -> int:
        """Return the numbers of the cross-correlation."""
        return self.options.projector_width**2
