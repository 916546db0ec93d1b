"""What test_processes.py runs under torchrun: ``in_processes.py FOLDER BACKEND DEVICE``."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from detectron2.layers.batch_norm import NaiveSyncBatchNorm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pretrain import losses
from pretrain.engine.processes import gather_with_gradient, shutdown

BATCH = 16


def network(norm: str) -> nn.Module:
    """Return a small convolutional network, the same in every process."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(4)]
    module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 32), nn.BatchNorm1d(32), nn.Linear(32, 24))
    if norm == "naive":
        naive = NaiveSyncBatchNorm(16)
        naive.load_state_dict(module[1].state_dict())
        module[1], module[6] = naive, nn.Identity()
    elif norm == "plain without the second":
        module[6] = nn.Identity()
    elif norm == "synchronised":
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    return module


def pixels() -> list[Tensor]:
    """Return two views of the joined batch, the same in every process."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(BATCH, 3, 16, 16, generator=generator) for _ in range(2)]


def value_and_gradients(norm: str, device: torch.device, rows: slice) -> dict[str, Tensor]:
    """Return loss, gradients and running statistics of one step on this process's `rows`, on the CPU."""
    module = network(norm).to(device)
    distributed = dist.is_initialized()
    wrapped = DistributedDataParallel(module, broadcast_buffers=False) if distributed else module
    outputs = [wrapped(view[rows].to(device)) for view in pixels()]
    if distributed and dist.get_world_size() > 1:
        outputs = [gather_with_gradient(x) for x in outputs]
    loss = losses.kernel_ssl_loss(outputs[0], outputs[1], outputs[1].detach(), outputs[0].detach())
    loss.backward()
    found = {"loss": loss, **{name: p.grad for name, p in module.named_parameters()}}
    found |= {name: buffer for name, buffer in module.named_buffers() if buffer.is_floating_point()}
    return {name: value.detach().float().cpu() for name, value in found.items()}


def main(folder: Path, backend: str, device: torch.device) -> None:
    """Write what this process found to FOLDER/<rank>.pt."""
    from detectron2.utils import comm

    if device.type == "cuda":
        torch.cuda.set_device(0)  # all processes share the one GPU
    dist.init_process_group(backend)
    comm.create_local_process_group(dist.get_world_size())
    each = BATCH // dist.get_world_size()
    rows = slice(dist.get_rank() * each, (dist.get_rank() + 1) * each)
    norms = ["synchronised", "naive"] if device.type == "cuda" else ["naive"]
    torch.save({norm: value_and_gradients(norm, device, rows) for norm in norms}, folder / f"{dist.get_rank()}.pt")
    shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], torch.device(sys.argv[3]))
