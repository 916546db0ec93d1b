"""What test_two_processes.py runs in two gloo processes: ``torchrun two_processes.py FOLDER``.

The gradients of one step of every method, of this process's part of a batch, with batch norm in eval mode and in
training; in eval mode also with gradient caching. The networks are in float64: batch norm over the few numbers of so
small a batch multiplies rounding, and what is wrong would have to be told from that. Written are a hash of everything,
by which the processes are compared with one another, and of each tensor some thousand numbers: all of them are 6 GB.
"""

import hashlib
import sys
from pathlib import Path

import torch

from pretrain.engine import processes as distributed
from pretrain.training.step import Step, StepResult
from pretrain.training.trainer import prepare_method, wrapped
from tests.pretrain.methods.small import (
    CLASSES,
    METHODS,
    batch,
    in_float64,
    progress,
    register_example,
    remembered,
    small_config,
)

CPU = torch.device("cpu")
KINDS = ("eval", "cached", "train")


ENOUGH = 4_096  # numbers a tensor


def thinned(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return of each tensor all numbers, or where there are more than ENOUGH every n-th."""
    return {key: value.flatten()[:: 1 + value.numel() // ENOUGH].clone() for key, value in found.items()}


def digest(found: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256 of all numbers."""
    whole = hashlib.sha256()
    for key, value in found.items():
        whole.update(key.encode() + value.contiguous().numpy().tobytes())
    return whole.hexdigest()


def take(name: str, kind: str) -> dict[str, torch.Tensor]:
    """Return loss, gradients and targets of one step."""
    method = in_float64(prepare_method(small_config(name, zero_init=False), CPU, CLASSES))
    views, labels = batch(method)
    views = [view.double() for view in views]
    each = len(views[0]) // distributed.world_size()
    own = slice(distributed.rank() * each, (distributed.rank() + 1) * each)
    method.before_step(progress())
    method.train(kind == "train")
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    micro_batch = 2 if kind == "cached" and distributed.world_size() > 1 else None
    step = Step(method, wrapped(method, CPU), "fp32", CPU, scaler, micro_batch)
    result: StepResult = step([view[own] for view in views], None if labels is None else labels[own], True)
    found = {key: p.grad.clone() for key, p in method.named_parameters() if p.grad is not None}
    method.after_step(progress(), result.rows, result.targets)
    targets = {f"target {place}": rows for place, rows in enumerate(result.targets)}
    return {**found, **remembered(method), **targets, "loss": result.loss}


def main(folder: Path) -> None:
    """Write what this process found to FOLDER/<rank>.pt."""
    torch.set_num_threads(1)
    register_example()
    distributed.initialise(CPU)
    found = {}
    for case in (f"{name} {kind}" for name in METHODS for kind in KINDS):
        taken = take(*case.split())
        found[case] = {"digest": digest(taken), "values": thinned(taken)}
    torch.save(found, folder / f"{distributed.rank()}.pt")
    distributed.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
