"""ResNet + projector + predictor, and the momentum branch (method.md, "Recipe")."""

from typing import NamedTuple

import torch
import torchvision
from torch import Tensor, nn

FEATURES = {"resnet18": 512, "resnet50": 2048}


def build_backbone(arch: str) -> nn.Module:
    """Return a fresh torchvision ResNet without classifier, the last BN of every residual branch at zero.

    Input (B, 3, H, W), output (B, 512) for ``resnet18``, (B, 2048) for ``resnet50``.
    """
    backbone = getattr(torchvision.models, arch)(weights=None, zero_init_residual=True)
    backbone.fc = nn.Identity()
    return backbone


def untrained_backbone(arch: str = "resnet50", seed: int = 0) -> dict[str, Tensor]:
    """Return the state of the encoder that pre-training with this seed starts from (torchvision's names, epoch 0).

    It is what ``--weights random`` fine-tunes: the control that pre-training has to beat (pitfall 8b).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_backbone(arch).state_dict()


def projector(features: int, width: int, hidden: int) -> nn.Sequential:
    """Return Linear BN ReLU twice, then Linear with frozen bias and BN without affine; (B, features) -> (B, width)."""
    last = nn.Linear(hidden, width)
    last.bias.requires_grad = False  # the BN after it cancels it
    return nn.Sequential(
        nn.Linear(features, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        last,
        nn.BatchNorm1d(width, affine=False),
    )


def predictor(width: int, hidden: int) -> nn.Sequential:
    """Return Linear BN ReLU Linear, (B, width) -> (B, width)."""
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, width),
    )


class Outputs(NamedTuple):
    """Of one view: ``features`` (B, 512 or 2048) of the backbone, ``projection`` and ``prediction`` (B, width)."""

    features: Tensor
    projection: Tensor
    prediction: Tensor


class Online(nn.Module):
    """The online branch: encoder, projector, predictor."""

    def __init__(self, encoder: nn.Module, projector: nn.Module, predictor: nn.Module):
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor

    def forward(self, view: Tensor) -> Outputs:
        """Return features, projection and prediction of one view, (B, 3, S, S)."""
        features = self.encoder(view)
        projection = self.projector(features)
        return Outputs(features, projection, self.predictor(projection))


class Branches(nn.Module):
    """Online branch and momentum branch (encoder and projector only); ``state_dict`` holds both.

    The momentum branch starts as a copy. Its parameters follow by EMA; its BN buffers are its own, since it runs in
    train mode. Everything is drawn from `seed`, the encoder first, so ``untrained_backbone`` gives the same encoder.
    """

    def __init__(self, arch: str, width: int, hidden: int, predictor_hidden: int, seed: int):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = build_backbone(arch)
            self.projector = projector(FEATURES[arch], width, hidden)
            self.predictor = predictor(width, predictor_hidden)
            self.momentum_encoder = build_backbone(arch)
            self.momentum_projector = projector(FEATURES[arch], width, hidden)
        self.momentum_encoder.load_state_dict(self.encoder.state_dict())
        self.momentum_projector.load_state_dict(self.projector.state_dict())
        for parameter in [*self.momentum_encoder.parameters(), *self.momentum_projector.parameters()]:
            parameter.requires_grad = False

    def online(self) -> Online:
        """Return the online branch as one module that shares these parameters."""
        return Online(self.encoder, self.projector, self.predictor)

    @torch.no_grad()
    def momentum(self, view: Tensor) -> Tensor:
        """Return the momentum projection of one view, (B, width), without gradient."""
        return self.momentum_projector(self.momentum_encoder(view))

    @torch.no_grad()
    def update_momentum(self, momentum: float) -> None:
        """Move the momentum parameters: ``momentum * old + (1 - momentum) * online``."""
        old = [*self.momentum_encoder.parameters(), *self.momentum_projector.parameters()]
        new = [*self.encoder.parameters(), *self.projector.parameters()]
        torch._foreach_lerp_(old, new, 1.0 - momentum)
