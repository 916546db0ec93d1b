"""This machine: which accelerators it has, and one run's command on some of them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from benchmark.core.provenance import usable_cores
from benchmark.runner.planned import PlannedRun


def accelerators() -> list[str]:
    """Return the NVIDIA GPUs that a process may use, as CUDA_VISIBLE_DEVICES names them. Imports no torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [word.strip() for word in visible.split(",") if word.strip() and word.strip() != "-1"]
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))] if listed.returncode == 0 else []


def shares(gpus: Sequence[str], jobs: int) -> list[tuple[str, ...]]:
    """Return the GPUs of each of `jobs` places: disjoint, as equal as may be; all empty on a machine without GPUs.

    Where there are more places than GPUs, each has one GPU and shares it with as few others as may be.
    """
    if 0 < len(gpus) < jobs:
        return [(gpus[place % len(gpus)],) for place in range(jobs)]
    return [tuple(gpus[place::jobs]) for place in range(jobs)]


def command(run: PlannedRun, gpus: Sequence[str]) -> list[str]:
    """Return a run's command line on these GPUs: torchrun where it gets several.

    It never gets more processes than it asks for. With fewer GPUs it computes the same: the batch is that of all
    processes together.
    """
    return launched(run.arguments, min(run.resources.processes, max(len(gpus), 1)))


def launched(arguments: Sequence[str], processes: int) -> list[str]:
    """Return the command line of a script in `processes` processes of this machine."""
    if processes == 1:
        return [sys.executable, *arguments]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*launcher, *arguments]


def environment(gpus: Sequence[str], jobs: int = 1) -> dict[str, str]:
    """Return the environment of a run that may use these GPUs only, one of `jobs` at a time.

    Runs on CPUs share the cores as well, unless ``OMP_NUM_THREADS`` is set: torch takes as many threads as there are
    cores in each of them, and threads that wait for a core hold up the others of their run.
    """
    if gpus:
        return {**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    if jobs > 1:
        return {"OMP_NUM_THREADS": str(max(usable_cores() // jobs, 1)), **os.environ}
    return dict(os.environ)
