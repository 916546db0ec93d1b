"""What one evaluation of the loss returns."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LossTerms:
    """The loss and what it is made of; all 0-dimensional tensors.

    Attributes:
        loss: carries the gradient.
        uniformity, alignment: the two terms averaged over the two crossed pairs, without gradient (0 when off).
        radius_uniformity, radius_alignment: spectral radius of Q - I of each term, the larger of the two pairs; the
            Taylor series converges below 1. None unless asked for, and for a term without a logarithm.
    """

    loss: Tensor
    uniformity: Tensor
    alignment: Tensor
    radius_uniformity: Tensor | None = None
    radius_alignment: Tensor | None = None
