"""The encoder: torchvision's ResNet without its classifier."""

import torch
import torchvision
from torch import Tensor, nn

from pretrain.networks.small_maps import use_small_maps

FEATURES = {"resnet18": 512, "resnet50": 2048}


def build_backbone(arch: str, zero_init: bool = True) -> nn.Module:
    """Return a fresh torchvision ResNet without classifier.

    Input (B, 3, H, W), output (B, 512) for ``resnet18``, (B, 2048) for ``resnet50``.

    Args:
        arch: ``resnet18`` or ``resnet50``.
        zero_init: let the last BN of every residual branch begin at zero, so that each block begins as the identity.
    """
    backbone = getattr(torchvision.models, arch)(weights=None, zero_init_residual=zero_init)
    backbone.fc = nn.Identity()
    use_small_maps(backbone)
    return backbone


def untrained_backbone(arch: str = "resnet50", seed: int = 0, zero_init: bool = True) -> dict[str, Tensor]:
    """Return the state of the encoder that pre-training with this seed starts from (torchvision's names, epoch 0).

    It is what ``--weights random`` fine-tunes: the control that pre-training has to beat.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_backbone(arch, zero_init).state_dict()
