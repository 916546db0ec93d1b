"""The input: views from real JPEG files, by the CPU's cores or by the GPU, alone and in front of the training step."""

import os
import time
from typing import Any

import torch

from pretrain.images.loading import make_loader
from pretrain.images.recipe import PUBLISHED, ViewSettings
from pretrain.training.trainer import PretrainTrainer
from tests.gpu.measuring import Report
from tests.gpu.setting import DEVICE, DRY, batch_size, config, paths, synchronise

WORKERS = 2 if DRY else max(2, len(os.sched_getaffinity(0)) - 1)
BATCH = 256
ENGINES = ("fast", "reference", "gpu")


def views(engine: str, batches: int) -> dict[str, Any]:
    """Return source images (two views each) per second of the loader, after the workers have begun."""
    batch = batch_size(64)  # small, so that what the workers prepare ahead is soon used up
    settings = ViewSettings(32 if DRY else 224, engine, PUBLISHED["kernel_ssl"])
    total = 2 if DRY else batches
    loader = make_loader(
        paths(batch * total), settings, batch_size=batch, seed=0, workers=WORKERS, total_iterations=total,
        pin_memory=not DRY, device=DEVICE,
    )  # fmt: skip
    arrivals = []
    for _ in loader:
        synchronise()
        arrivals.append(time.perf_counter())
    skipped = len(arrivals) // 2  # what the workers had prepared while the first batch was waited for
    rate = batch * (len(arrivals) - 1 - skipped) / max(arrivals[-1] - arrivals[skipped], 1e-9)
    return {"images/s": rate, "images/s and core": rate / WORKERS, "workers": WORKERS}


def end_to_end(steps: int, **changes: Any) -> dict[str, float]:
    """Return images/s of training with files, views, copies, steps and all, over the second half of some steps."""
    batch, steps = batch_size(BATCH), 4 if DRY else steps
    settings = config(batch_size=batch, workers=WORKERS, **{"precision": "bf16", **changes})
    trainer = PretrainTrainer(settings, paths(batch * steps), DEVICE)
    if not DRY:
        torch.backends.cudnn.benchmark = True
    ends, run_step = [], trainer.run_step

    def watched() -> None:
        run_step()
        synchronise()
        ends.append(time.perf_counter())

    trainer.run_step = watched
    trainer.train(0, steps)
    half = steps // 2
    return {"images/s": batch * (steps - half) / (ends[-1] - ends[half - 1]), "batch": batch, "workers": WORKERS}


def main() -> None:
    """Measure everything; each finding is written at once."""
    report = Report()
    for engine in ENGINES:
        report.attempt(f"views of 224 px, {engine}", lambda engine=engine: views(engine, 4 * WORKERS))
    report.attempt("end to end, bf16, fast views", lambda: end_to_end(40, views="fast"))
    report.attempt("end to end, bf16, gpu views", lambda: end_to_end(40, views="gpu"))


if __name__ == "__main__":
    main()
