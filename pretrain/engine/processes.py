"""Processes: torchrun's environment, gathering features with gradient, and batch norm over all processes."""

import gc
import os
import signal
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from detectron2.utils import comm
from fvcore.nn.distributed import differentiable_all_reduce
from torch import Tensor, nn

from benchmark.core.errors import EndsQuietly, RunFailed, UserError, ending
from benchmark.core.folder import OutputFolder, claim
from benchmark.core.log import say
from benchmark.core.parent import end_with_parent

__all__ = ["say"]
Value = TypeVar("Value")
TIMEOUT = timedelta(minutes=30)  # as Detectron2: for a collective that a slow disk holds up


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu`` or ``cuda``.

    Raises ``UserError`` when a GPU is asked for but absent, and when there are more processes than GPUs.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda was given but no GPU can be used here; give --device cpu or auto.")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    here, cards = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
    if here > cards:
        raise UserError(
            f"torchrun starts {here} processes on a machine that has {cards} GPU{'s' * (cards > 1)}; give "
            f"--nproc-per-node {cards}, or --device cpu."
        )
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def initialise(device: torch.device) -> None:
    """Join the process group that torchrun's environment describes (NCCL on GPUs, gloo on CPUs); alone, do nothing.

    The processes wait for each other half an hour at most, and each ends with the torchrun that started it, after
    saving. Also tells Detectron2's ``comm`` which processes share this machine, since its hooks and batch norm ask it.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        return
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent(signal.SIGTERM)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))


def shutdown() -> None:
    """Leave the process group, if any, with the threads that carry out its collectives.

    A thread of gloo that drops its last tensor while Python is ending aborts the process ("terminate called without an
    active exception"), and torchrun then ends the others, the main one perhaps while it is writing. The threads end
    with the last reference to the group: Detectron2 keeps one, and DistributedDataParallel another, in a cycle.
    """
    if dist.is_initialized():
        dist.destroy_process_group()
        comm._LOCAL_PROCESS_GROUP = None
        gc.collect()


def rank() -> int:
    """Return the number of this process, 0 when alone; before ``initialise`` by torchrun's environment."""
    return dist.get_rank() if dist.is_initialized() else int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Return the number of processes, 1 when alone; before ``initialise`` by torchrun's environment."""
    return dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    """Say whether this process writes files and talks to people."""
    return rank() == 0


def from_main(make: Callable[[], Value]) -> Value:
    """Call `make` on the main process and return its value on all of them (it must be picklable).

    A ``UserError`` or ``RunFailed`` is raised on the main process, and ``EndsQuietly`` on the others, with the same
    exit code.
    """
    if world_size() == 1:
        return make()
    box: list[Any] = [None, 0]
    failure: Exception | None = None
    if is_main():
        try:
            box[0] = make()
        except (UserError, RunFailed) as error:
            failure, box[1] = error, ending(error)[0]
    dist.broadcast_object_list(box)
    if failure is not None:
        raise failure
    if box[1]:
        raise EndsQuietly(box[1])
    return box[0]


def claim_on_main(output: Path, identity: dict[str, Any], resume: bool) -> OutputFolder | None:
    """Claim a run's folder on the main process, which keeps its lock; a refusal ends all processes.

    Returns the folder there and None on the others. Arguments and errors: ``benchmark.core.folder.claim``.
    """
    claimed: list[OutputFolder] = []
    from_main(lambda: claimed.append(claim(output, identity, resume=resume)))
    return claimed[0] if claimed else None


def union(items: Iterable[str]) -> set[str]:
    """Return the items of all processes together; every process must call it."""
    if world_size() == 1:
        return set(items)
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, sorted(items))
    return {item for part in found for item in part}


def wait_for_all() -> None:
    """Return when every process has come here."""
    if world_size() > 1:
        dist.barrier()


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.rows = len(features)
        parts = [torch.empty_like(features) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, features.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Every process computes the same loss on the same gathered rows, so its own rows' gradient is already the
        # full one. DDP will average over processes where a sum is needed: hence the factor.
        begin = dist.get_rank() * ctx.rows
        return gradient[begin : begin + ctx.rows] * dist.get_world_size()


def gather_with_gradient(features: Tensor) -> Tensor:
    """Return the rows of all processes in order of rank, (m, d) from (m / world, d).

    For a loss that every process computes alike on the gathered rows, under DistributedDataParallel's averaging: the
    parameter gradients then equal those of one process with the joined batch (a test holds that).
    """
    if world_size() == 1:
        return features
    return _GatherWithGradient.apply(features)


class JoinedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the joined batch of all processes, on any device; equal batch sizes assumed.

    torch's SyncBatchNorm runs on GPUs only. Detectron2's naive one takes (N, C, H, W) with affine parameters, keeps
    the biased running variance, and gets the variance as E[x^2] - E[x]^2, which cancels; this one follows
    ``nn.BatchNorm`` in all of that, so that two processes equal one (tested).
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (2, 4):
            raise ValueError(f"expected (N, C) or (N, C, H, W), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C) or (N, C, H, W); in training by the statistics of all processes."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        x = input if input.dtype == torch.float64 else input.float()
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        mean = differentiable_all_reduce(x.mean(axes)) / dist.get_world_size()
        centred = x - mean.view(shape)
        variance = differentiable_all_reduce(centred.square().mean(axes)) / dist.get_world_size()
        result = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        self._track(mean.detach(), variance.detach(), x.numel() // x.shape[1] * dist.get_world_size())
        return result.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / max(count - 1, 1), self.momentum)


def synchronised_norms(module: nn.Module, device: torch.device) -> nn.Module:
    """Return the module with batch norm over all processes: torch's SyncBatchNorm on GPUs, ours on CPUs."""
    if world_size() == 1:
        return module
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    return joined_norms(module)


def joined_norms(module: nn.Module) -> nn.Module:
    """Return the module with ``JoinedBatchNorm`` in the place of every batch norm, parameters and statistics kept."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        joined = JoinedBatchNorm(module.num_features, module.eps, module.momentum, module.affine)
        if module.affine:  # the parameters themselves: whether they carry gradient, and who else holds them, stays
            joined.weight, joined.bias = module.weight, module.bias
        joined.load_state_dict(module.state_dict())
        return joined.train(module.training)
    for name, child in module.named_children():
        setattr(module, name, joined_norms(child))
    return module
