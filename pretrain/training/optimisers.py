"""SGD, LARS and LARC, as the recipes use them; each equals its released code to 1e-12 (see tests).

========================  ============================================================================================
optimiser                 recipe and source
========================  ============================================================================================
``SGD`` of torch          Kernel-SSL, MEC, SimSiam, MoCo, supervised: momentum 0.9, decay on every parameter
``LARS``                  BYOL (deepmind-research@f5de0ede byol/utils/optimizers.py:144), Barlow Twins
                          (barlowtwins@8e8d284c main.py:224), VICReg (vicreg@4e12602f main_vicreg.py:245)
``LARS(lr_in_velocity)``  SimCLR (simclr@383d4143 lars_optimizer.py:29-118, "classic momentum")
``LARC``                  SwAV; linear probes of SimSiam and MEC (apex@cb65b8ed~1 apex/parallel/LARC.py, clip off)
========================  ============================================================================================
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from pretrain.methods.base import ParameterGroup
from pretrain.training.config import PretrainConfig

MOMENTUM = 0.9
TRUST = 0.001
LARC_EPS = 1e-8

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]


class _LayerWise(torch.optim.Optimizer):
    """Momentum steps along directions whose length is adapted parameter by parameter.

    Whole lists of tensors are handled at once, as torch.optim's own optimisers do it: on a GPU a loop over 160
    parameters would wait for some thousand small kernels.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Take one step; `closure` is not supported, as in no recipe of these optimisers."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            velocities = [self._velocity(parameter) for parameter in parameters]
            lr_in_velocity = group.get("lr_in_velocity", False)
            directions = self._directions(group, parameters)
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, directions, alpha=group["lr"] if lr_in_velocity else 1.0)
            torch._foreach_add_(parameters, velocities, alpha=-1.0 if lr_in_velocity else -group["lr"])

    def _velocity(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter)
        return state["velocity"]

    def _directions(self, group: dict[str, Any], parameters: list[Tensor]) -> list[Tensor]:
        """Return the adapted gradients, decay included, in the order of `parameters`."""
        raise NotImplementedError


class LARS(_LayerWise):
    """Layer-wise adaptive rate scaling (arXiv 1708.03888), as in the recipes of SimCLR, BYOL, Barlow Twins and VICReg.

    Each weight matrix or kernel moves by ``lr * trust * |w| / |g + decay * w|`` in the direction of its gradient with
    momentum; by ``lr`` where one of the norms is 0. Parameters with one dimension (biases, batch norm) take plain SGD
    steps: no decay, no adaptation.

    Args:
        parameters: to optimise, or groups of them, in which every further argument may have a value of its own.
        lr: learning rate.  momentum: of the velocity.  weight_decay: L2.  trust: trust coefficient.
        lr_in_velocity: SimCLR's classic momentum: the velocity sums gradients times the learning rate of their step,
            and the parameter moves by the velocity. Otherwise the velocity sums gradients, and the parameter moves by
            the velocity times today's learning rate. They differ whenever the learning rate changes.
        exclude_vectors: whether parameters with one dimension are neither decayed nor adapted.
        adapted: whether the others are adapted; without it, they are decayed alone.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float,
        momentum: float = MOMENTUM,
        weight_decay: float = 0.0,
        trust: float = TRUST,
        lr_in_velocity: bool = False,
        exclude_vectors: bool = True,
        adapted: bool = True,
    ):
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust}
        choices = {"lr_in_velocity": lr_in_velocity, "exclude_vectors": exclude_vectors, "adapted": adapted}
        super().__init__(parameters, defaults | choices)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state; those saved before these choices existed are completed."""
        super().__setstate__(state)
        for group in self.param_groups:
            for name in ("lr_in_velocity", "exclude_vectors", "adapted"):
                group.setdefault(name, self.defaults[name])

    def _directions(self, group: dict[str, Any], parameters: list[Tensor]) -> list[Tensor]:
        gradients = [parameter.grad for parameter in parameters]
        decayed = [i for i, p in enumerate(parameters) if not (group["exclude_vectors"] and p.ndim == 1)]
        if not decayed:
            return gradients
        weights = [parameters[i] for i in decayed]
        changed = torch._foreach_add([gradients[i] for i in decayed], weights, alpha=group["weight_decay"])
        if group["adapted"]:
            sizes, lengths = _norms(weights), _norms(changed)
            usable = (sizes > 0) & (lengths > 0)
            ratios = torch.where(usable, group["trust"] * sizes / lengths, torch.ones_like(sizes))
            torch._foreach_mul_(changed, list(ratios.unbind()))
        for i, direction in zip(decayed, changed, strict=True):
            gradients[i] = direction
        return gradients


class LARC(_LayerWise):
    """apex's LARC around SGD without clipping, as in SwAV's recipe and the linear probes of SimSiam and MEC.

    Every parameter, biases and batch norm too, moves along ``(g + decay * w) * trust * |w| / (|g| + decay * |w| +
    1e-8)``. Where |w| or |g| is 0, it takes a plain SGD step without decay.

    Args:
        parameters: to optimise, or groups of them, in which every further argument may have a value of its own.
        lr: learning rate.  momentum: of the velocity.  weight_decay: L2.  trust: trust coefficient.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float,
        momentum: float = MOMENTUM,
        weight_decay: float = 0.0,
        trust: float = TRUST,
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    def _directions(self, group: dict[str, Any], parameters: list[Tensor]) -> list[Tensor]:
        gradients, decay = [parameter.grad for parameter in parameters], group["weight_decay"]
        sizes, lengths = _norms(parameters), _norms(gradients)
        usable = (sizes > 0) & (lengths > 0)
        ratios = group["trust"] * sizes / (lengths + decay * sizes + LARC_EPS)
        one, zero = torch.ones_like(ratios), torch.zeros_like(ratios)
        directions = torch._foreach_mul(gradients, list(torch.where(usable, ratios, one).unbind()))
        decays = torch._foreach_mul(parameters, list(torch.where(usable, decay * ratios, zero).unbind()))
        torch._foreach_add_(directions, decays)
        return directions


def _norms(tensors: list[Tensor]) -> Tensor:
    """Return the lengths of all tensors as one vector, so that no decision about them waits for the device."""
    return torch.stack(torch._foreach_norm(tensors))


def make_optimiser(config: PretrainConfig, groups: Sequence[ParameterGroup]) -> torch.optim.Optimizer:
    """Return the optimiser of a method's groups of parameters, in their order; schedules set their lr every step."""
    taken = [{"params": group.parameters} for group in groups]
    lr, decay = config.scaled_lr, config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(taken, lr, MOMENTUM, weight_decay=decay)
    if config.optimizer == "larc":
        return LARC(taken, lr, MOMENTUM, decay)
    return LARS(taken, lr, MOMENTUM, decay, lr_in_velocity=config.optimizer == "lars_classic")
