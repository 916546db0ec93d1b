"""What tests/pretrain/engine/test_processes.py runs in two gloo processes: ``torchrun two_processes.py FOLDER``."""

import sys
from pathlib import Path

import torch
from detectron2.utils import comm
from torch import nn

from pretrain.engine import processes as distributed
from pretrain.images.listing import list_images
from pretrain.images.loading import normalised
from pretrain.training.trainer import PretrainTrainer
from tests.pretrain.runs import config

MICRO = 2


def norm_inputs(shape: tuple[int, ...], offset: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the joined batch and the gradient at its output, the same in every process."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 1 + offset
    return x, torch.randn(shape, generator=generator, dtype=torch.float64)


def part(rows: torch.Tensor) -> torch.Tensor:
    """Return the rows of this process."""
    each = len(rows) // distributed.world_size()
    return rows[distributed.rank() * each : (distributed.rank() + 1) * each]


def run_norm(norm: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return output, gradients and running statistics of a batch norm after one forward and backward."""
    x = x.clone().requires_grad_()
    out = norm(x)
    out.backward(gradient)
    return {"out": out.detach(), "by_input": x.grad, "by_weight": norm.weight.grad, **norm.state_dict()}


def joined_norm(shape: tuple[int, ...], dtype: torch.dtype, offset: float = 0.0) -> dict[str, torch.Tensor]:
    """Run this process's rows through batch norm over all processes."""
    plain = nn.BatchNorm1d(shape[1]) if len(shape) == 2 else nn.BatchNorm2d(shape[1])
    norm = distributed.synchronised_norms(plain, torch.device("cpu")).to(dtype)
    x, gradient = norm_inputs(shape, offset)
    return run_norm(norm, part(x).to(dtype), part(gradient).to(dtype))


def first_gradients(folder: Path, micro_batch: int | None, evaluating: bool) -> dict[str, torch.Tensor]:
    """Return the gradients of the first step of a small run, batch norm in eval mode or not."""
    trainer = PretrainTrainer(
        config(micro_batch=micro_batch), list_images(folder / "data"), distributed.choose_device("cpu")
    )
    trainer.iter = trainer.start_iter = 0
    trainer.before_train()
    batch = next(trainer.batches)
    trainer.method.train(not evaluating)
    views = tuple(normalised(view, trainer.device) for view in batch.views)
    result = trainer.step(views, None, True)
    found = {name: p.grad for name, p in trainer.method.named_parameters() if p.grad is not None}
    return {**found, "loss": result.loss, "features": result.features}


def threads_of_gloo() -> int:
    """Return how many threads this process has for collectives, by their names; Linux only, 0 elsewhere."""
    return sum("gloo" in (task / "comm").read_text() for task in Path("/proc/self/task").glob("*"))


def main(folder: Path) -> None:
    """Write what this process found to FOLDER/<rank>.pt."""
    distributed.initialise(distributed.choose_device("cpu"))
    rows = torch.arange(6.0).view(3, 2) + 10 * distributed.rank()
    rows.requires_grad_()
    gathered = distributed.gather_with_gradient(rows)
    (gathered * torch.arange(12.0).view(6, 2)).sum().backward()
    found = {
        "who": torch.tensor(
            [distributed.rank(), distributed.world_size(), distributed.is_main(), comm.get_local_size()]
        ),
        "gathered": gathered.detach(),
        "by_rows": rows.grad,
        "norm_2d": joined_norm((6, 5), torch.float64),
        "norm_4d": joined_norm((6, 5, 4, 3), torch.float64),
        "norm_far": joined_norm((64, 5), torch.float32, offset=3000.0),
        "training": first_gradients(folder, None, evaluating=False),
        "cached": first_gradients(folder, MICRO, evaluating=True),
    }
    found["threads"] = threads_of_gloo()
    rank = distributed.rank()
    distributed.shutdown()
    found["threads_left"] = threads_of_gloo()
    torch.save(found, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
