"""SimSiam and Barlow Twins as lightly's documentation writes their loops, beside ours: images/s and peak memory.

The same network (ResNet-50 with the released heads), batch, photographs and optimiser. lightly is no dependency of this
project: where it cannot be imported, the bench says so and ends. Theirs: its transforms on Pillow images, float32,
NCHW. Ours: fast views, channels last, in float32 and in bf16. Steps with their views, interleaved, processor time on
one thread; medians of ratios. Peak memory: of one step in a fresh process, above what it held with its inputs, its
optimiser's state and no gradients (a loop that frees them after a step and one that does before the next then count
the same), when all that was freed before had gone back to the system.

solo-learn's methods are not measured: the newest version on the index (1.0.2) imports modules that Lightning has not
had since its version 2. The released Matrix-SSL step is stated in ``bench_step.py``.
"""

import ctypes
import io
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from benchmark.core.folder import ROOT
from pretrain.images.recipe import PUBLISHED, ViewSettings
from pretrain.methods.base import Progress
from pretrain.methods.registry import make_method
from pretrain.training.config import make_config
from pretrain.training.optimisers import make_optimiser
from pretrain.training.step import Step
from tests.bench.bench_step import contents
from tests.bench.bench_views import ours

try:
    from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity
    from lightly.models.modules import BarlowTwinsProjectionHead, SimSiamPredictionHead, SimSiamProjectionHead
    from lightly.transforms import BYOLTransform, BYOLView1Transform, BYOLView2Transform, SimSiamTransform

    ABSENT = None
except ImportError as error:
    ABSENT = f"lightly cannot be imported here ({error}); pip install lightly"

BATCH, SIDE, ROUNDS, LR = 16, 224, 2, 0.03
CPU = torch.device("cpu")
METHODS = ("simsiam", "barlow_twins")
KINDS = ("lightly", "ours, fp32", "ours, bf16")


class Theirs(nn.Module):
    """lightly's modules as its two examples put them together, with the released sizes of the heads."""

    def __init__(self, method: str):
        super().__init__()
        network = torchvision.models.resnet50()
        self.backbone = nn.Sequential(*list(network.children())[:-1])
        if method == "simsiam":
            self.projection_head = SimSiamProjectionHead(2048, 2048, 2048)
            self.prediction_head = SimSiamPredictionHead(2048, 512, 2048)
        else:
            self.projection_head = BarlowTwinsProjectionHead(2048, 8192, 8192)

    def forward(self, x: Tensor) -> Tensor:
        """Return the projection."""
        return self.projection_head(self.backbone(x).flatten(start_dim=1))


class Loop(NamedTuple):
    """What makes the views, what takes a step on them and returns the loss, and whose gradients a step leaves."""

    views: Callable[[], list[Tensor]]
    step: Callable[[list[Tensor]], float]
    optimiser: torch.optim.Optimizer


def lightlys(method: str, files: list[bytes]) -> Loop:
    """Return lightly's loop, as its documentation writes it."""
    size = {"input_size": SIDE}
    two = BYOLTransform(BYOLView1Transform(**size), BYOLView2Transform(**size))
    transform = SimSiamTransform(**size) if method == "simsiam" else two
    model, barlow, cosine = Theirs(method).train(), BarlowTwinsLoss(), NegativeCosineSimilarity()
    optimiser = torch.optim.SGD(model.parameters(), lr=LR)

    def views() -> list[Tensor]:
        made = []
        for content in files:
            with Image.open(io.BytesIO(content)) as file:
                made.append(transform(file.convert("RGB")))
        return [torch.stack(view) for view in zip(*made, strict=True)]

    def step(given: list[Tensor]) -> float:
        z_0, z_1 = (model(view) for view in given)
        if method == "simsiam":
            p_0, p_1 = model.prediction_head(z_0), model.prediction_head(z_1)
            loss = 0.5 * (cosine(z_0.detach(), p_1) + cosine(z_1.detach(), p_0))
        else:
            loss = barlow(z_0, z_1)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss.detach().item()

    return Loop(views, step, optimiser)


def our(method: str, precision: str, files: list[bytes]) -> Loop:
    """Return ours, with plain SGD as theirs."""
    config = make_config(method=method, batch_size=BATCH, image_size=SIDE, optimizer="sgd", precision=precision)
    model = make_method(config).to(memory_format=torch.channels_last).train()
    optimiser = make_optimiser(config, model.parameter_groups())
    for group in optimiser.param_groups:
        group.update(lr=LR, momentum=0.0, weight_decay=0.0)
    work = Step(model, model, precision, CPU, torch.amp.GradScaler("cpu", enabled=False))
    settings, progress = ViewSettings(SIDE, "fast", PUBLISHED[method]), Progress(10, 10**6, 10**3)

    def step(given: list[Tensor]) -> float:
        optimiser.zero_grad(set_to_none=True)
        model.before_step(progress)
        result = work(given, None, False)
        model.after_backward(progress)
        optimiser.step()
        model.after_step(progress, result.rows, result.targets)
        return result.loss.item()

    def views() -> list[Tensor]:
        return [view.contiguous(memory_format=torch.channels_last) for view in ours(files, settings)]

    return Loop(views, step, optimiser)


def made(kind: str, method: str) -> Loop:
    """Return the loop of one of ``KINDS``."""
    files = contents()
    return lightlys(method, files) if kind == "lightly" else our(method, kind.removeprefix("ours, "), files)


def print_peak(kind: str, method: str) -> None:
    """Print the peak memory of the second step, in MiB; for a fresh process on Linux."""
    torch.set_num_threads(1)
    loop = made(kind, method)
    given = loop.views()
    loop.step([view[:2] for view in given])
    loop.optimiser.zero_grad()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the high-water mark starts again
    before = _status("VmRSS")
    loop.step(given)
    print((_status("VmHWM") - before) / 1024)


def _status(key: str) -> int:
    """Return a line of /proc/self/status, in KiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key))


def peak(kind: str, method: str) -> float:
    """Return ``print_peak`` of a fresh process."""
    code = f"from tests.bench.bench_peers import print_peak; print_peak({kind!r}, {method!r})"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else float("nan")


def main() -> None:
    """Print images/s, their ratio to lightly's, and peak memory."""
    if ABSENT is not None:
        print(f"skipped: {ABSENT}")
        return
    torch.set_num_threads(1)
    print(f"ResNet-50, {SIDE} px, batch {BATCH}, one thread, processor time; median of {ROUNDS} interleaved rounds")
    for method in METHODS:
        loops = {kind: made(kind, method) for kind in KINDS}
        taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for number in range(ROUNDS + 1):
            for kind, loop in loops.items():
                begin = time.process_time()
                loop.step(loop.views())
                if number:  # the first warms up
                    taken[kind].append(time.process_time() - begin)
        del loops
        for kind in KINDS:
            ratio = statistics.median(a / b for a, b in zip(taken["lightly"], taken[kind], strict=True))
            speed = BATCH / statistics.median(taken[kind])
            print(
                f"{method:13} {kind:11} {speed:6.2f} images/s, {ratio:5.2f} of lightly's, {peak(kind, method):6.0f} MiB"
            )


if __name__ == "__main__":
    main()
