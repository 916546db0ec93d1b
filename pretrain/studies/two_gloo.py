"""Training steps of two processes on this machine, which talk or do not: what the model of a step is checked against.

Both run at the same time in either case, so that they share memory and cores alike; only the talking differs.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import nn

from benchmark.runner.step_time import BYTES, Card, Links, Work, loss_operations
from pretrain.cost.plan import step_seconds
from pretrain.engine.processes import joined_norms, shutdown
from pretrain.losses import kernel_ssl_loss
from pretrain.methods.base import Method
from pretrain.methods.registry import make_method
from pretrain.training.config import PretrainConfig, make_config
from pretrain.training.optimisers import make_optimiser
from pretrain.training.step import Step
from pretrain.training.trainer import wrapped

CPU = torch.device("cpu")
BIG, SMALL = 1 << 22, 256  # numbers in an all-reduce that shows the rate, and in one that shows the latency
SIZES = {"arch": "resnet18", "image_size": 32, "projector_width": 512, "projector_hidden": 512, "predictor_hidden": 128}


@dataclass(frozen=True)
class Measured:
    """One round, in seconds: what one process by itself has, and two that talk.

    Attributes:
        alone: seconds of a step by the images of a process, in processes that do not talk.
        loss: seconds of the loss by its rows, likewise.
        together: seconds of a step of two processes that talk, by the images of each.
        latency_s, rate: of a small all-reduce, and bytes a second of a large one.
    """

    alone: dict[int, float]
    loss: dict[int, float]
    together: dict[int, float]
    latency_s: float
    rate: float


def small_config(**changes: object) -> PretrainConfig:
    """Return a Kernel-SSL config that two CPU cores can step through."""
    return make_config(
        **{"method": "kernel_ssl", "batch_size": 64, "precision": "fp32", "workers": 0, **SIZES, **changes}
    )


def small_card(found: Measured) -> Card:
    """Return one process as the model describes it: a line through its first and its last size, the loss taken off."""
    first, last = min(found.alone), max(found.alone)
    loss = found.loss
    times = {share: found.alone[share] - loss[share] for share in (first, last)}
    image = (times[last] - times[first]) / (last - first)
    most = max(loss)
    rate = loss_operations(most, SIZES["projector_width"]) / loss[most]
    return Card("this machine", times[first] - first * image, image, min(loss.values()), rate)


def small_links(found: Measured) -> Links:
    """Return what connects the two processes, as measured."""
    return Links(found.rate, found.rate, found.latency_s, found.latency_s)


def small_work() -> Work:
    """Return what a step of the small network moves. Its norms tell each other mean and variance, there and back."""
    method = make_method(small_config())
    norms = {True: 0, False: 0}
    for name, module in method.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            norms[name.startswith("momentum")] += 1
    trained = BYTES * sum(parameter.numel() for parameter in method.trainable())
    return Work(SIZES["projector_width"], 4, trained, 2 * (2 * 2 * norms[False] + 2 * norms[True]))


def measure(shares: tuple[int, ...], rounds: int) -> list[Measured]:
    """Measure on two processes of one thread each; `shares` are the images of a process, ascending.

    A round has both kinds of steps one after the other, so that what else the machine does meets them alike; of three
    steps the fastest counts.
    """
    with TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_work, (folder, shares, rounds), nprocs=2)
        found = torch.load(Path(folder) / "0.pt", weights_only=True)
    return [Measured(**one) for one in found]


def _work(rank: int, folder: str, shares: tuple[int, ...], rounds: int) -> None:
    torch.set_num_threads(1)
    found = []
    for number in range(rounds + 1):
        with _Group(f"file://{folder}/alone-{rank}-{number}", 0, 1):
            step = _prepared(shares[-1])
            alone = {share: step(share) for share in shares}
            loss = {rows: _seconds(_loss(rows), 5) for rows in (*shares, 2 * shares[-1])}
        with _Group(f"file://{folder}/together-{number}", rank, 2):
            latency, rate = _talk()
            step = _prepared(shares[-1])
            together = {share: step(share) for share in shares}
        found.append({"alone": alone, "loss": loss, "together": together, "latency_s": latency, "rate": rate})
    torch.save(found[1:], Path(folder) / f"{rank}.pt")  # the first round warms up


class _Group:
    """A gloo group for a while, known to Detectron2 too."""

    def __init__(self, where: str, rank: int, size: int):
        self.where, self.rank, self.size = where, rank, size

    def __enter__(self) -> None:
        dist.init_process_group("gloo", init_method=self.where, rank=self.rank, world_size=self.size)
        comm.create_local_process_group(self.size)

    def __exit__(self, *_: object) -> None:
        shutdown()


def _prepared(most: int) -> Callable[[int], float]:
    """Return what times a step of some images, with the batch norms that several processes have."""
    config = small_config(batch_size=2 * most)
    method: Method = joined_norms(make_method(config)).to(memory_format=torch.channels_last).train()
    optimiser = make_optimiser(config, method.parameter_groups())
    for group in optimiser.param_groups:
        group["lr"] = 0.0
    encode: nn.Module = wrapped(method, CPU)
    step = Step(method, encode, "fp32", CPU, torch.amp.GradScaler("cpu", enabled=False))
    step_seconds(step, optimiser, config, 4)  # warms up
    return lambda share: min(step_seconds(step, optimiser, config, share) for _ in range(3))


def _loss(rows: int) -> Callable[[], None]:
    features = [torch.randn(rows, SIZES["projector_width"]).requires_grad_(i < 2) for i in range(4)]
    return lambda: kernel_ssl_loss(*features).backward()


def _talk() -> tuple[float, float]:
    """Return the latency of a small all-reduce, in seconds, and the bytes a second of a large one."""
    small, big = torch.zeros(SMALL), torch.zeros(BIG)
    latency = _seconds(lambda: dist.all_reduce(small), 100)
    took = _seconds(lambda: dist.all_reduce(big), 5)
    return latency, 4 * BIG / max(took - latency, 1e-9)


def _seconds(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)
