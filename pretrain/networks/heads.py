"""The heads on top of the encoder: small multi-layer perceptrons, as the methods put them together."""

from torch import nn


def hidden(inputs: int, outputs: int, bias: bool = False) -> list[nn.Module]:
    """Return Linear BN ReLU, (B, inputs) -> (B, outputs): the hidden layer of almost every head."""
    return [nn.Linear(inputs, outputs, bias=bias), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]


def siamese_projector(features: int, width: int, units: int) -> nn.Sequential:
    """Return the projector of SimSiam, MEC and Kernel-SSL, (B, features) -> (B, width).

    Two hidden layers, then Linear with frozen bias and BN without affine (simsiam/builder.py:27-36 at a7bc1772).
    """
    last = nn.Linear(units, width)
    last.bias.requires_grad = False  # the BN after it cancels it
    return nn.Sequential(
        *hidden(features, units), *hidden(units, units), last, nn.BatchNorm1d(width, affine=False)
    )  # fmt: skip


def siamese_predictor(width: int, units: int) -> nn.Sequential:
    """Return Linear BN ReLU Linear, (B, width) -> (B, width) (simsiam/builder.py:39-42 at a7bc1772)."""
    return nn.Sequential(*hidden(width, units), nn.Linear(units, width))


def deep_projector(features: int, width: int, units: int, bias: bool = False) -> nn.Sequential:
    """Return two hidden layers and a Linear without bias, (B, features) -> (B, width), as Barlow Twins and VICReg."""
    return nn.Sequential(
        *hidden(features, units, bias), *hidden(units, units, bias), nn.Linear(units, width, bias=False)
    )
