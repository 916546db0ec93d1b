"""The momentum branch: a copy that follows the online branch. A part that methods use, not a base class."""

import copy
from collections.abc import Iterable

import torch
from torch import nn


def momentum_copy(module: nn.Module) -> nn.Module:
    """Return a copy of `module` that carries no gradient; its batch norms keep running statistics of their own."""
    copied = copy.deepcopy(module)
    for parameter in copied.parameters():
        parameter.requires_grad = False
    return copied


@torch.no_grad()
def follow(pairs: Iterable[tuple[nn.Module, nn.Module]], momentum: float) -> None:
    """Move the parameters of each (copy, original): ``momentum * copy + (1 - momentum) * original``.

    Buffers (the running statistics of batch norm) stay: the copy runs in train mode and has its own.
    """
    copies, originals = [], []
    for copied, original in pairs:
        copies += copied.parameters()
        originals += original.parameters()
    torch._foreach_lerp_(copies, originals, 1.0 - momentum)
