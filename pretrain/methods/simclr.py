"""SimCLR (arXiv 2002.05709; code google-research/simclr): two views of an image among all others of the batch.

Both views pass the network in one forward pass, so that batch norm takes its statistics over both (run.py builds one
batch of 2N images). Lines of the code are those of commit 383d4143.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from benchmark.core.options import option
from pretrain.losses import simclr_loss
from pretrain.methods.base import Encoded, LossResult, Method, Rows, Temperature, Views, Width
from pretrain.methods.parts import joint_projections
from pretrain.networks.heads import hidden
from pretrain.training.config import MethodOptions


@dataclass(frozen=True)
class SimCLROptions(MethodOptions):
    """Options of the projector and of the loss."""

    temperature: Temperature = option(0.1, "of the similarities", group="Method")
    projector_layers: Annotated[int, Field(ge=1, le=10)] = option(
        2, "layers of the projector: 2 in the paper, 3 in SimCLR v2 and in the code's default", group="Method"
    )
    projector_width: Width = option(128, "outputs of the projector", group="Method")


class SimCLR(Method):
    """NT-Xent between the projections of both views; the hidden units of the projector are as wide as the encoder."""

    not_as_released = (
        "released for TPUs: TensorFlow's first weights and its colour operations (brightness and contrast differ from "
        "torchvision's)",
        "crops are resized with Pillow's antialiasing, TensorFlow's have none",
        "an epoch is 312 whole batches of ImageNet; there batches run on over the ends of epochs, so that 1,000 epochs "
        "are 312,785 steps instead of 312,000",
    )

    Options = SimCLROptions
    options: SimCLROptions

    def build(self, features: int) -> None:
        """Draw the projector: BN after every layer; after the last one it has a scale and no offset, and no ReLU."""
        o = self.options
        layers = [layer for _ in range(o.projector_layers - 1) for layer in hidden(features, features)]
        last = nn.BatchNorm1d(o.projector_width)
        last.bias.requires_grad = False  # stays 0: center=False (model_util.py:109-138)
        self.projector = nn.Sequential(*layers, nn.Linear(features, o.projector_width, bias=False), last)

    def encode(self, views: Views) -> Encoded:
        """Return the projections of both views, (B, width) each, from one joint forward pass."""
        return joint_projections(self, views)

    def loss(self, rows: Rows, targets: Rows, labels: Tensor | None = None, details: bool = False) -> LossResult:
        """Return NT-Xent, twice the paper's average as in the code (run.py sums both directions)."""
        return LossResult(simclr_loss(*rows, temperature=self.options.temperature))

    def loss_numbers(self, batch: int) -> int:
        """Return the numbers of the similarities of all pairs of views."""
        return (2 * batch) ** 2
