"""What test_distributed.py runs in two gloo processes: ``torchrun two_processes.py FOLDER``."""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pretrain.engine import processes as distributed
from pretrain.losses import kernel_ssl_loss

BATCH = 12
OPTIONS = {
    "released": {},
    "released, other weights": {"mu": 0.5, "lam": 0.5, "gamma": 0.3, "taylor_order": 6},
    "exact": {"logarithm": "exact", "trace_term": True},
    "hsic": {"alignment": "hsic", "hsic_weight": 0.1},
    "rbf": {"kernel": "rbf"},
}


def joined_batch() -> tuple[list[Tensor], list[Tensor]]:
    """Return the inputs of two views and the two targets, the same in every process, float64."""
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(BATCH, 5, generator=generator, dtype=torch.float64) for _ in range(2)]
    return views, [torch.randn(BATCH, 8, generator=generator, dtype=torch.float64) for _ in range(2)]


def network() -> nn.Module:
    """Return a small network, the same in every process."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 8)).double()


def value_and_gradients(options: dict, rows: slice) -> dict[str, Tensor]:
    """Return the loss of all processes' rows, and the parameters' gradients from this process's `rows`."""
    module = network()
    wrapped = DistributedDataParallel(module) if distributed.world_size() > 1 else module
    views, targets = joined_batch()
    joined = torch.cat([view[rows] for view in views])
    gather = distributed.gather_with_gradient
    online_1, online_2 = (gather(part) for part in wrapped(joined).chunk(2))
    loss = kernel_ssl_loss(online_1, online_2, *[gather(target[rows]) for target in targets], **options)
    loss.backward()
    return {"loss": loss.detach(), **{name: parameter.grad for name, parameter in module.named_parameters()}}


def main(folder: Path) -> None:
    """Write what this process found to FOLDER/<rank>.pt."""
    distributed.initialise(torch.device("cpu"))
    each = BATCH // distributed.world_size()
    rows = slice(distributed.rank() * each, (distributed.rank() + 1) * each)
    torch.save(
        {name: value_and_gradients(options, rows) for name, options in OPTIONS.items()},
        folder / f"{distributed.rank()}.pt",
    )
    distributed.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
