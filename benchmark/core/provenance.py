"""Where a result came from: versions, commit, hardware. Imports none of the packages that it names."""

import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "opencv-python-headless", "fvcore", "pycocotools", "hotcoco")


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result (absent ones left out)."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, "sal-detectron2", "detectron2"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def git_commit() -> str | None:
    """Return the commit of this checkout, with ``+changes`` when tracked files differ, or None outside git."""
    root = Path(__file__).resolve().parents[2]
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=root, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changed.returncode else "")


def hardware(device: str, device_name: str | None = None, processes: int = 1) -> dict[str, str | int]:
    """Return what a run used: ``device`` (cpu or cuda), its name, processes (one a GPU), usable CPU cores."""
    name = device_name or _cpu_name()
    return {"device": device, "name": name, "processes": processes, "cpu_cores": usable_cores()}


def usable_cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_name() -> str:
    """Return the processor's name; /proc says more than platform does on Linux."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
