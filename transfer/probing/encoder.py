"""The frozen encoder that classification probes."""

from torch import nn

from benchmark.core.errors import UserError
from pretrain.networks.encoder import build_backbone
from transfer.checkpoints.backbone import Backbone
from transfer.checkpoints.convention import RGB
from transfer.checkpoints.resnet import COUNTER


def check_for_classification(backbone: Backbone, word: str) -> None:
    """Raise ``UserError`` for weights that cannot classify: those of detectors only, or with another kind of input."""
    if backbone.tensors is None or backbone.convention != RGB:
        raise UserError(f"--weights {word} is for detectors only; classification takes torchvision's kind of input.")


def make_encoder(backbone: Backbone) -> nn.Module:
    """Return the encoder with these weights, (B, 3, H, W) -> (B, 512 or 2048), in eval mode."""
    encoder = build_backbone(backbone.arch)
    counters = {name: tensor for name, tensor in encoder.state_dict().items() if name.endswith(COUNTER)}
    encoder.load_state_dict({**counters, **backbone.tensors})
    return encoder.eval()
