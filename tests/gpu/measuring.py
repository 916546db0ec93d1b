"""Times on the device, and a report that is written as it grows, so that a part that is stopped leaves what it has."""

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.gpu.setting import DEVICE, DRY, synchronise


class Report:
    """A dict that is written to GPU_TESTS_REPORT whenever something is added."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def add(self, name: str, value: Any) -> None:
        """Keep a finding, print it, and write all so far."""
        self.found[name] = value
        print(f"{name}: {value}", flush=True)
        if target := os.environ.get("GPU_TESTS_REPORT"):
            Path(target).write_text(json.dumps(self.found, indent=1), encoding="utf-8")

    def attempt(self, name: str, measure: Callable[[], Any]) -> Any:
        """Add what `measure` returns, or why it failed; what fails stops nothing else."""
        try:
            value = measure()
        except Exception as error:
            value = {"failed": f"{type(error).__name__}: {str(error)[:500]}"}
        self.add(name, value)
        if not DRY:
            torch.cuda.empty_cache()
        return value


def seconds(work: Callable[[], Any], repeats: int = 10, warm: int = 3) -> float:
    """Return the median seconds of `work` on the device, after `warm` runs that do not count."""
    repeats, warm = (2, 1) if DRY else (repeats, warm)
    for _ in range(warm):
        work()
    times = []
    for _ in range(repeats):
        synchronise()
        begin = time.perf_counter()
        work()
        synchronise()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def throughput(work: Callable[[], Any], repeats: int = 10, warm: int = 3) -> float:
    """Return seconds of one `work` when `repeats` of them run without a pause, as in training."""
    repeats, warm = (2, 1) if DRY else (repeats, warm)
    for _ in range(warm):
        work()
    synchronise()
    begin = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronise()
    return (time.perf_counter() - begin) / repeats


def matrix_rate() -> float:
    """Return what a large bf16 matrix product reaches here, in TFLOP/s: the ceiling of the FLOPs utilisation."""
    side = 256 if DRY else 8192
    a, b = (torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / seconds(lambda: a @ b, repeats=20) / 1e12


def peak_memory() -> float:
    """Return the peak of allocated GPU memory since the last reset, in GiB."""
    return 0.0 if DRY else torch.cuda.max_memory_allocated() / 2**30


def reset_memory() -> None:
    """Begin a new peak."""
    if not DRY:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
