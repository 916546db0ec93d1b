"""Small pre-training runs for the tests: a folder of pictures, flags that take seconds, calls as users make them."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmark.core.folder import ROOT
from benchmark.records import RunRecord
from pretrain.methods.base import Method
from pretrain.methods.registry import make_method
from pretrain.run import main
from pretrain.training.config import PretrainConfig, make_config

SCRIPT = str(ROOT / "pretrain" / "run.py")
SMALL: dict[str, Any] = {
    "arch": "resnet18",
    "image_size": 32,
    "batch_size": 8,
    "epochs": 2,
    "projector_width": 32,
    "projector_hidden": 32,
    "predictor_hidden": 16,
    "precision": "fp32",
    "device": "cpu",
    "workers": 0,
    "log_every": 1,
}


def config(**changes: Any) -> PretrainConfig:
    """Return a small config with `changes`."""
    return make_config(**({"views": "fast"} | SMALL | changes))


def method(**changes: Any) -> Method:
    """Return the freshly drawn method of a small config with `changes`."""
    return make_method(config(**changes))


def pictures(folder: Path, count: int = 24, level: int | None = None) -> Path:
    """Fill `folder` with pictures of 50 x 40 px: noise, or one grey `level` everywhere; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 255, (40, 50, 3), dtype=np.uint8)
        if level is not None:
            pixels[:] = level
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return folder


def flags(folder: Path, data: Path | None = None, **changes: Any) -> list[str]:
    """Return the command line of a small run that writes under `folder` and reads `data` (default folder/data)."""
    options = SMALL | {"data": data or folder / "data", "output": folder / "run", "records": folder / "records"}
    return [f"--{key.replace('_', '-')}={value}" for key, value in (options | changes).items()]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a child: one thread, this checkout first on the path."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}


def call(arguments: list[str], processes: int = 1) -> subprocess.CompletedProcess[str]:
    """Run pretrain/run.py to its end, by torchrun when there are several processes."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    command = [sys.executable, *(launcher if processes > 1 else []), SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)


def equal(a: Any, b: Any) -> bool:
    """Say whether two parts of checkpoints are the same bit by bit, with equal dtypes."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def said_by(arguments: list[str]) -> str:
    """Run main; return what it wrote to standard error, the progress bar included."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert main(arguments) == 0
    return said.getvalue()


def record_of(folder: Path) -> RunRecord:
    """Return the one record that a run has left."""
    (path,) = (folder / "records").glob("*.json")
    return RunRecord.read(path)


def lines(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.json."""
    return [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
