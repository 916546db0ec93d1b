"""The step alone: ResNet-50 at 224 px with pixels already on the device; its FLOPs, shares and stalls."""

import itertools
import time
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from pretrain.images.loading import Batch
from pretrain.losses import kernel_ssl_loss
from pretrain.methods.base import Progress
from pretrain.training.trainer import PretrainTrainer
from tests.gpu.measuring import Report, matrix_rate, peak_memory, reset_memory, seconds, throughput
from tests.gpu.setting import DEVICE, DRY, batch_size, config, paths, synchronise

BATCHES = (64, 128, 256, 512)
WIDTH = 64 if DRY else 2048  # of the features that the loss compares


def prepared(batch: int, **changes: Any) -> PretrainTrainer:
    """Return a trainer whose loader gives one batch of random pixels, which lies on the device, for ever.

    It stays at its second iteration: the first is a logged one, with effective ranks and spectral radii.
    """
    settings = config(batch_size=batch, **{"precision": "bf16", **changes})
    trainer = PretrainTrainer(settings, paths(batch), DEVICE)
    side = settings.image_size
    views = tuple(torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8, device=DEVICE) for _ in range(2))
    trainer.batches = itertools.repeat(Batch(views, torch.arange(batch), ()))
    trainer.iter = trainer.start_iter = 1
    if not DRY:
        torch.backends.cudnn.benchmark = True
    return trainer


def flops_of_a_step(trainer: PretrainTrainer) -> float:
    """Return the FLOPs of the matrix products and convolutions of one step, counted by torch, for one image."""
    with FlopCounterMode(display=False) as counter:
        trainer.run_step()
    return counter.get_total_flops() / trainer.config.batch_size


def speeds(report: Report) -> None:
    """Measure images/s at every batch, in bf16, and in float32 at one."""
    ceiling = report.attempt("bf16 matrix product, TFLOP/s", matrix_rate)
    flops = report.attempt("GFLOP of a step, each image", lambda: flops_of_a_step(prepared(batch_size(64))) / 1e9)

    def measure(batch: int, **changes: Any) -> dict[str, float]:
        reset_memory()
        trainer = prepared(batch_size(batch), **changes)
        took = throughput(trainer.run_step)
        rate = trainer.config.batch_size / took
        found = {"images/s": rate, "ms": 1000 * took, "peak GiB": peak_memory()}
        if isinstance(flops, float):
            found["TFLOP/s"] = flops * rate / 1000
            found["share of the matrix product's rate"] = flops * rate / 1000 / ceiling
        return found

    for batch in BATCHES:
        report.attempt(f"bf16, batch {batch}", lambda batch=batch: measure(batch))
    report.attempt("fp32 (TF32 convolutions), batch 128", lambda: measure(128, precision="fp32"))
    report.attempt(
        "bf16, batch 256, in parts of 64 (gradient caching)", lambda: measure(256, micro_batch=batch_size(256) // 4)
    )


def shares(batch: int) -> dict[str, float]:
    """Return how long the step takes, and loss, optimiser and momentum branch by themselves."""
    trainer = prepared(batch_size(batch))
    whole = throughput(trainer.run_step)
    rows = [torch.randn(trainer.config.batch_size, WIDTH, device=DEVICE) for _ in range(4)]

    def loss() -> None:
        online = [x.detach().requires_grad_() for x in rows[:2]]
        kernel_ssl_loss(*online, *rows[2:]).backward()

    progress = Progress(1, 1000, 10)
    parts = {
        "loss": seconds(loss),
        "optimiser": seconds(trainer.optimiser.step),
        "momentum branch's update": seconds(lambda: trainer.method.after_step(progress, (), ())),
    }
    trainer.iter = 0
    logged = throughput(trainer.run_step, repeats=5)
    found = {"step, ms": 1000 * whole, "logged step, ms": 1000 * logged}
    for name, took in parts.items():
        found[f"{name}, ms"], found[f"{name}, share"] = 1000 * took, took / whole
    return found


def loss_alone(rows: int, width: int) -> dict[str, float]:
    """Return the time of value and gradient of the Kernel-SSL loss, and its deviation from float64."""
    matrices = [torch.randn(rows, width, device=DEVICE) for _ in range(4)]
    online = [x.requires_grad_() for x in matrices[:2]]

    def work() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(kernel_ssl_loss(*matrices), online)

    wide = [x.detach().double().requires_grad_(i < 2) for i, x in enumerate(matrices)]
    exact = torch.autograd.grad(kernel_ssl_loss(*wide), wide[:2])
    apart = max(((a - b).norm() / b.norm()).item() for a, b in zip(work(), exact, strict=True))
    return {"ms": 1000 * seconds(work), "gradient against float64": apart}


def stalls(batch: int, steps: int = 5) -> dict[str, Any]:
    """Return how much of the wall time the device computes, and how often the host waits for it, by the profiler."""
    trainer = prepared(batch_size(batch))
    for _ in range(1 if DRY else 4):
        trainer.run_step()
    synchronise()
    activities = [ProfilerActivity.CPU] + ([] if DRY else [ProfilerActivity.CUDA])
    begin = time.perf_counter()
    with profile(activities=activities) as prof:
        for _ in range(steps):
            trainer.run_step()
        synchronise()
    wall = time.perf_counter() - begin
    events = prof.key_averages()
    # Operators of the host carry the time of their kernels a second time, and so do annotated ranges.
    kernels = [e for e in events if e.device_type == DeviceType.CUDA and not getattr(e, "is_user_annotation", False)]
    busy = sum(event.self_device_time_total for event in kernels) / 1e6
    waiting = [event for event in events if "Synchronize" in event.key or event.key == "aten::item"]
    largest = sorted(kernels, key=lambda event: -event.self_device_time_total)[:12]
    return {
        "device busy, share of wall time under the profiler": busy / wall,
        "waits a step": {event.key: event.count / steps for event in waiting},
        "kernels a step": sum(event.count for event in events if event.key.startswith("cudaLaunchKernel")) / steps,
        "largest, ms a step": {event.key[:80]: event.self_device_time_total / 1000 / steps for event in largest},
    }


def main() -> None:
    """Measure everything; each finding is written at once."""
    report = Report()
    speeds(report)
    report.attempt("shares at batch 256", lambda: shares(256))
    for rows in (256, 1024) if not DRY else (32,):
        report.attempt(f"loss alone at {rows} x {WIDTH}", lambda rows=rows: loss_alone(rows, WIDTH))
    report.attempt("stalls at batch 256", lambda: stalls(256))


if __name__ == "__main__":
    main()
