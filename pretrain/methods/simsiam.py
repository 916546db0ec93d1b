"""SimSiam (arXiv 2011.10566; code facebookresearch/simsiam at a7bc1772): a predictor and a stopped gradient."""

from dataclasses import dataclass

from torch import Tensor

from benchmark.core.options import option
from pretrain.losses import simsiam_loss
from pretrain.methods.base import Encoded, LossResult, Method, ParameterGroup, Rows, Views, Width
from pretrain.networks.heads import siamese_predictor, siamese_projector
from pretrain.training.config import MethodOptions


@dataclass(frozen=True)
class SimSiamOptions(MethodOptions):
    """Options of the heads and of the predictor's learning rate."""

    projector_width: Width = option(2048, "outputs of projector and predictor", group="Method")
    projector_hidden: Width = option(2048, "hidden units of the projector", group="Method")
    predictor_hidden: Width = option(512, "hidden units of the predictor", group="Method")
    constant_predictor_lr: bool = option(
        True, "keep the predictor's learning rate at its peak (--fix-pred-lr of the released command)", group="Method"
    )


class SimSiam(Method):
    """The prediction of each view is drawn to the projection of the other, through which no gradient flows."""

    Options = SimSiamOptions
    options: SimSiamOptions

    def build(self, features: int) -> None:
        """Draw projector and predictor."""
        o = self.options
        self.projector = siamese_projector(features, o.projector_width, o.projector_hidden)
        self.predictor = siamese_predictor(o.projector_width, o.predictor_hidden)

    def encode(self, views: Views) -> Encoded:
        """Return predictions and projections of both views, (B, width) each: p_1, p_2, z_1, z_2."""
        features = self.encoder(views[0])
        z_1 = self.projector(features)
        z_2 = self.projector(self.encoder(views[1]))
        rows = (self.predictor(z_1), self.predictor(z_2), z_1, z_2)
        return Encoded(rows, features.detach(), z_1.detach())

    def loss(self, rows: Rows, targets: Rows, labels: Tensor | None = None, details: bool = False) -> LossResult:
        """Return the negative cosine of both directions; the projections are constants in it."""
        return LossResult(simsiam_loss(*rows))

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return encoder and projector, and the predictor, whose learning rate stays constant."""
        predictor = {id(parameter) for parameter in self.predictor.parameters()}
        others = [parameter for parameter in self.trainable() if id(parameter) not in predictor]
        constant = self.options.constant_predictor_lr
        return [ParameterGroup(others), ParameterGroup(list(self.predictor.parameters()), constant=constant)]
