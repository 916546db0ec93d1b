"""What test_distributed.py runs in two gloo processes: ``torchrun two_processes.py FOLDER``."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pretrain import losses
from pretrain.engine import processes as distributed

BATCH = 12
WIDTH = 8


def kernel_ssl(**options) -> Callable[..., Tensor]:
    """Return the Kernel-SSL loss with these options."""
    return lambda *rows: losses.kernel_ssl_loss(*rows, **options)


def constants(*shape: int) -> Tensor:
    """Return unit rows that are the same in every process: a queue, or prototypes."""
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return nn.functional.normalize(rows, dim=1)


# Each is called with predictions of two views and two targets, (BATCH, WIDTH), gathered from all processes.
LOSSES = {
    "released": kernel_ssl(),
    "released, other weights": kernel_ssl(mu=0.5, lam=0.5, gamma=0.3, taylor_order=6),
    "exact": kernel_ssl(logarithm="exact", trace_term=True),
    "hsic": kernel_ssl(alignment="hsic", hsic_weight=0.1),
    "rbf": kernel_ssl(kernel="rbf"),
    "simclr": lambda o1, o2, t1, t2: losses.simclr_loss(o1, o2),
    "moco_v2": lambda o1, o2, t1, t2: losses.moco_v2_loss(o1, t2, constants(6, WIDTH).T),
    "byol": losses.byol_loss,
    "swav": lambda o1, o2, t1, t2: losses.swav_loss(o1, o2, constants(5, WIDTH)),
    "simsiam": losses.simsiam_loss,
    "barlow_twins": lambda o1, o2, t1, t2: losses.barlow_twins_loss(o1, o2),
    "vicreg": lambda o1, o2, t1, t2: losses.vicreg_loss(o1, o2),
    "mec": losses.mec_loss,
    "supervised": lambda o1, o2, t1, t2: losses.supervised_loss(o1, t1.argmax(1)),
}


def barlow_twins_as_released(online_1: Tensor, online_2: Tensor) -> Tensor:
    """Return Barlow Twins' loss as its code computes it on several GPUs (main.py:207-221): no gradient through the sum.

    The batch norm of the loss takes its statistics, and their gradients, over all processes, as SyncBN does.
    """
    norm = distributed.JoinedBatchNorm(WIDTH, affine=False).double()
    views = [norm(x) for x in (online_1, online_2)]
    c = views[0].T @ views[1] / BATCH
    with torch.no_grad():
        rest = c.clone()
        dist.all_reduce(rest)
        rest -= c
    c = c + rest
    off = c - torch.diag(c.diagonal())
    return (c.diagonal() - 1).square().sum() + 0.0051 * off.square().sum()


def joined_batch() -> tuple[list[Tensor], list[Tensor]]:
    """Return the inputs of two views and the two targets, the same in every process, float64."""
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(BATCH, 5, generator=generator, dtype=torch.float64) for _ in range(2)]
    return views, [torch.randn(BATCH, WIDTH, generator=generator, dtype=torch.float64) for _ in range(2)]


def network() -> nn.Module:
    """Return a small network, the same in every process."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, WIDTH)).double()


def value_and_gradients(loss_of: Callable[..., Tensor], rows: slice, gathered: bool = True) -> dict[str, Tensor]:
    """Return the loss of all processes' rows, and the parameters' gradients from this process's `rows`."""
    module = network()
    wrapped = DistributedDataParallel(module) if distributed.world_size() > 1 else module
    views, targets = joined_batch()
    online = wrapped(torch.cat([view[rows] for view in views])).chunk(2)
    gather = distributed.gather_with_gradient
    if gathered:
        loss = loss_of(*(gather(part) for part in online), *(gather(target[rows]) for target in targets))
    else:
        loss = loss_of(*online)
    loss.backward()
    return {"loss": loss.detach(), **{name: parameter.grad for name, parameter in module.named_parameters()}}


def main(folder: Path) -> None:
    """Write what this process found to FOLDER/<rank>.pt."""
    distributed.initialise(torch.device("cpu"))
    each = BATCH // distributed.world_size()
    rows = slice(distributed.rank() * each, (distributed.rank() + 1) * each)
    found = {name: value_and_gradients(loss, rows) for name, loss in LOSSES.items()}
    found["barlow_twins as released"] = value_and_gradients(barlow_twins_as_released, rows, gathered=False)
    torch.save(found, folder / f"{distributed.rank()}.pt")
    distributed.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
