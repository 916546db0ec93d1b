"""A whole training step of Kernel-SSL, views included: the released code's as it is written, against ours.

ResNet-50 at 224 px, batch 16. Released (arXiv 2305.17326, stated plainly): Pillow views by torchvision's transforms,
float32 in NCHW, a forward pass for each view, the loss by d x d matrices, SGD, the momentum branch parameter by
parameter. Ours: fast views, channels last, the loss on the smaller side; in float32, and in bf16. Steps are interleaved
on one thread; the processor time of each counts, so that other work on the machine counts little; medians of ratios.
Before that, both take two float32 steps from the same weights on the same pixels, whose losses must agree: the first
within rounding, the second within what rounding makes of it.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from pretrain.images.recipe import PUBLISHED, ViewSettings
from pretrain.methods.base import Method, Progress
from pretrain.methods.registry import make_method
from pretrain.training.config import make_config
from pretrain.training.optimisers import make_optimiser
from pretrain.training.step import Step
from tests.bench.bench_loss import released_loss
from tests.bench.bench_views import BACKGROUNDS, official, ours, released

BATCH, SIDE, ROUNDS, AGREEING = 16, 224, 3, 2
FIRST, LATER = 1e-4, 2e-2  # relative: the released formula's own rounding grows from step to step
LR, EMA = 0.03, 0.996
CPU = torch.device("cpu")


def fresh() -> Method:
    """Return Kernel-SSL with its released heads, the same weights for every call."""
    return make_method(make_config(method="kernel_ssl", batch_size=BATCH, image_size=SIDE, precision="fp32"))


def contents() -> list[bytes]:
    """Return the bytes of a batch of photographs."""
    files = sorted(BACKGROUNDS.glob("*.jpg"))
    return [files[i % len(files)].read_bytes() for i in range(BATCH)]


class Released:
    """The released step: crossed views, SGD on the online branch, then the momentum branch one parameter at a time."""

    def __init__(self) -> None:
        self.online = fresh().train()
        self.branches = [
            (self.online.momentum_encoder, self.online.encoder),
            (self.online.momentum_projector, self.online.projector),
        ]
        self.optimiser = torch.optim.SGD(self.online.trainable(), LR, 0.9, weight_decay=1e-5, foreach=False)
        self.pipelines = [official(recipe, SIDE) for recipe in PUBLISHED["kernel_ssl"]]

    def views(self, files: list[bytes]) -> list[Tensor]:
        """Return both views as the released pipeline makes them."""
        return released(files, self.pipelines)

    def step(self, views: list[Tensor]) -> float:
        """Take one step; return its loss."""
        b = self.online
        predictions = [b.predictor(b.projector(b.encoder(view))) for view in views]
        with torch.no_grad():
            targets = [b.momentum_projector(b.momentum_encoder(view)) for view in views]
        loss = released_loss(predictions[0], predictions[1], targets[0], targets[1])
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            for copied, original in self.branches:
                for old, new in zip(copied.parameters(), original.parameters(), strict=True):
                    old.data = old.data * EMA + new.data * (1 - EMA)
        return loss.item()


class Ours:
    """The project's own step, as the trainer takes it."""

    def __init__(self, precision: str) -> None:
        self.method = fresh().to(memory_format=torch.channels_last).train()
        self.optimiser = make_optimiser(self.method.config, self.method.parameter_groups())
        for group in self.optimiser.param_groups:
            group["lr"] = LR
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        self.work = Step(self.method, self.method, precision, CPU, scaler)
        self.settings = ViewSettings(SIDE, "fast", PUBLISHED["kernel_ssl"])

    def views(self, files: list[bytes]) -> list[Tensor]:
        """Return both views as training gets them."""
        return ours(files, self.settings)

    def step(self, views: list[Tensor]) -> float:
        """Take one step; return its loss."""
        progress = Progress(0, 10**6, 10**3)
        self.optimiser.zero_grad(set_to_none=True)
        self.method.before_step(progress)
        result = self.work([view.contiguous(memory_format=torch.channels_last) for view in views], None, False)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.method.trainable()])
        loss, _ = torch.stack([result.loss.double(), norm.double()]).tolist()
        self.optimiser.step()
        self.method.after_step(progress, result.rows, result.targets)
        return loss


def agreement(plain: Released, mine: Ours) -> list[float]:
    """Return the relative differences of the losses of the first float32 steps, on the same pixels."""
    files, apart = contents(), []
    for seed in range(AGREEING):
        torch.manual_seed(seed)
        views = plain.views(files)
        a, b = plain.step(views), mine.step(views)
        apart.append(abs(a - b) / abs(a))
    return apart


def spent(work: Callable[[], object]) -> float:
    """Return the processor seconds of a call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    """Print seconds and ratios of whole steps and of their parts. Raises if the trajectories part."""
    torch.set_num_threads(1)
    plain, mine, fast = Released(), Ours("fp32"), Ours("bf16")
    apart = agreement(plain, mine)
    if not (apart[0] < FIRST and max(apart) < LATER):
        raise AssertionError(f"the losses of the first float32 steps are {apart} apart")
    said = ", ".join(f"{one:.0e}" for one in apart)
    print(
        f"ResNet-50, {SIDE} px, batch {BATCH}, one thread, processor time; first float32 losses {said} apart",
        flush=True,
    )
    files = contents()
    fast.step(fast.views(files))  # the others are warm
    taken: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, side in (("released", plain), ("ours, fp32", mine), ("ours, bf16", fast)):
            made: list[list[Tensor]] = []
            of_views = spent(lambda s=side, made=made: made.append(s.views(files)))
            of_step = spent(lambda s=side, made=made: s.step(made[0]))
            taken.setdefault(name, []).append(of_views + of_step)
            taken.setdefault(f"{name}, views", []).append(of_views)
            print(f"  {name:12} {of_views + of_step:7.2f} s, views {of_views:5.2f} s", flush=True)
    for name in ("released", "ours, fp32", "ours, bf16"):
        ratio = statistics.median(a / b for a, b in zip(taken["released"], taken[name], strict=True))
        whole, views = statistics.median(taken[name]), statistics.median(taken[f"{name}, views"])
        print(f"{name:12} {whole:7.2f} s a step, {views:5.2f} s of it views; released / this {ratio:5.2f}")


if __name__ == "__main__":
    main()
