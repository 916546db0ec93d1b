"""Supervised training (pytorch/examples imagenet/main.py at 77f55b91): cross-entropy with the labels of the images."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from benchmark.core.options import option
from pretrain.losses import supervised_loss
from pretrain.methods.base import DROPS_LAST, Encoded, LossResult, Method, Rows, Views
from pretrain.training.config import MethodOptions


@dataclass(frozen=True)
class SupervisedOptions(MethodOptions):
    """Options of the loss."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = option(
        0.0, "share of the label that is spread over all classes", group="Method"
    )


class Supervised(Method):
    """One view, one linear classifier; the labels are those of the class folders."""

    not_as_released = (DROPS_LAST,)

    Options = SupervisedOptions
    options: SupervisedOptions
    views = 1
    needs_labels = True

    def build(self, features: int) -> None:
        """Draw the classifier."""
        self.classifier = nn.Linear(features, self.classes)

    def encode(self, views: Views) -> Encoded:
        """Return the logits, (B, classes)."""
        features = self.encoder(views[0])
        return Encoded((self.classifier(features),), features.detach(), None)

    def loss(self, rows: Rows, targets: Rows, labels: Tensor | None = None, details: bool = False) -> LossResult:
        """Return the cross-entropy, and the share of the batch that is classified rightly."""
        total = supervised_loss(rows[0], labels, label_smoothing=self.options.label_smoothing)
        return LossResult(total, {"accuracy": (rows[0].argmax(1) == labels).float().mean()} if details else {})
