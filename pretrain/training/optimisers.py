"""SGD and LARS."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pretrain.training.config import PretrainConfig

MOMENTUM = 0.9
TRUST = 0.001


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (arXiv 1708.03888), as BYOL's and Barlow Twins' recipes use it.

    Each weight matrix or kernel moves by ``lr * trust * |w| / |g + decay * w|`` in the direction of its gradient with
    momentum. Parameters with one dimension (biases, BN) take plain SGD steps: no decay, no adaptation.

    Args:
        parameters: to optimise.  lr: learning rate.  momentum: of the velocity.  weight_decay: L2, on matrices only.
        trust: trust coefficient.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float = MOMENTUM,
        weight_decay: float = 0.0,
        trust: float = TRUST,
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Take one step; `closure` is not supported, as in no LARS recipe."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group)

    def _step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        direction = parameter.grad
        if parameter.ndim > 1:
            direction = direction.add(parameter, alpha=group["weight_decay"])
            size, length = parameter.norm(), direction.norm()
            adaptation = torch.where((size > 0) & (length > 0), group["trust"] * size / length, torch.ones_like(size))
            direction = direction * adaptation
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter)
        state["velocity"].mul_(group["momentum"]).add_(direction)
        parameter.add_(state["velocity"], alpha=-group["lr"])


def make_optimiser(config: PretrainConfig, module: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser of the trainable parameters; its lr is set every iteration by the schedule."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if config.optimizer == "lars":
        return LARS(parameters, config.scaled_lr, MOMENTUM, config.weight_decay)
    return torch.optim.SGD(parameters, config.scaled_lr, MOMENTUM, weight_decay=config.weight_decay)
