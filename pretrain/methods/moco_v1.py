"""MoCo v1 (arXiv 1911.05722; code facebookresearch/moco at 7397dfe1): MoCo v2 with a linear head and other views."""

from dataclasses import dataclass

from torch import Tensor, nn

from benchmark.core.options import option
from pretrain.losses import moco_v1_loss
from pretrain.methods.base import LossResult, Rows, Temperature
from pretrain.methods.moco_v2 import MoCoV2, MoCoV2Options


@dataclass(frozen=True)
class MoCoV1Options(MoCoV2Options):
    """Options of v2 with the temperature of v1 (main_moco.py:168-170)."""

    temperature: Temperature = option(0.07, "of the similarities", group="Method")


class MoCoV1(MoCoV2):
    """As MoCo v2, with one linear layer on top of the encoder."""

    Options = MoCoV1Options
    options: MoCoV1Options

    def head(self, features: int) -> nn.Module:
        """Return the projector: one Linear with bias (builder.py:31-35)."""
        return nn.Linear(features, self.options.projector_width)

    def loss(self, rows: Rows, targets: Rows, labels: Tensor | None = None, details: bool = False) -> LossResult:
        """Return InfoNCE against the queue as it was before this batch."""
        return LossResult(moco_v1_loss(*rows, *targets, self.queue, temperature=self.options.temperature))
