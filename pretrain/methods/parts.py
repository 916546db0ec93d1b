"""What several methods do alike: ways through the network, and the momentum branch. A method's file says what it takes.

Beside its encoder, a method that is given here has ``projector``, ``predictor``, ``momentum_encoder`` and
``momentum_projector``, as far as they are used. The rows of a view are (B, width).
"""

import torch
from torch import Tensor

from pretrain.methods.base import Encoded, Method, Views
from pretrain.networks.momentum import follow, momentum_copy


def projections(method: Method, views: Views) -> Encoded:
    """Return the projections of both views; each view passes alone, so that batch norm sees one at a time."""
    features = method.encoder(views[0])
    projection = method.projector(features)
    second = method.projector(method.encoder(views[1]))
    return Encoded((projection, second), features.detach(), projection.detach())


def predictions(method: Method, views: Views) -> Encoded:
    """Return the predictions of both views; each view passes alone, so that batch norm sees one at a time."""
    features = method.encoder(views[0])
    projection = method.projector(features)
    first = method.predictor(projection)
    second = method.predictor(method.projector(method.encoder(views[1])))
    return Encoded((first, second), features.detach(), projection.detach())


def joint_projections(method: Method, views: Views) -> Encoded:
    """Return the projections of both views from one forward pass: batch norm takes its statistics over both."""
    features = method.encoder(torch.cat(list(views)))
    rows = method.projector(features).chunk(2)
    return Encoded(rows, features.detach().chunk(2)[0], rows[0].detach())


def add_momentum_branch(method: Method) -> None:
    """Give the method a momentum branch: copies of its encoder and projector, as they are now."""
    method.momentum_encoder = momentum_copy(method.encoder)
    method.momentum_projector = momentum_copy(method.projector)


@torch.no_grad()
def momentum_projections(method: Method, views: Views) -> tuple[Tensor, ...]:
    """Return the momentum branch's projections of the given views."""
    return tuple(method.momentum_projector(method.momentum_encoder(view)) for view in views)


def move_momentum_branch(method: Method, momentum: float) -> None:
    """Let the momentum branch follow: ``momentum * itself + (1 - momentum) * online``, parameters alone."""
    pairs = [(method.momentum_encoder, method.encoder), (method.momentum_projector, method.projector)]
    follow(pairs, momentum)
