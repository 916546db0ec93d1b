"""The small runs that faults are done to: pre-training of noise, fine-tuning on eight scenes, each in a few seconds."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pretrain.engine.archive import load_archive
from pretrain.engine.checkpoint import LAST, load_checkpoint
from tests.faults.zygote import Process, Zygote
from tests.pretrain import runs as pretraining
from tests.transfer import runs as fine_tuning

OFTEN = {"checkpoint_minutes": 1e-6}  # a checkpoint after every step
SELDOM = {"checkpoint_minutes": 1000}


@dataclass(frozen=True)
class Subject:
    """A command to do faults to: the flags of its small run in a folder, and the weights that it leaves there."""

    zygote: Zygote
    flags: Callable[..., list[str]]
    weights: Callable[[Path], dict[str, torch.Tensor]]

    def start(self, folder: Path, limits: dict[str, int] | None = None, **changes: Any) -> Process:
        """Start the run in `folder`; `changes` are options that do not change its result."""
        folder.mkdir(parents=True, exist_ok=True)
        return self.zygote.start(self.flags(folder, **changes), folder / "log", **limits or {})

    def undisturbed(self, folder: Path) -> tuple[dict[str, torch.Tensor], float]:
        """Run once without any fault; return the weights and the seconds it took."""
        began = time.monotonic()
        self.finish(folder)
        return self.weights(folder), time.monotonic() - began

    def finish(self, folder: Path, **changes: Any) -> str:
        """Run to the end; return what was said. Raises ``AssertionError`` when it does not end well."""
        process = self.start(folder, **changes)
        assert process.wait(300) == 0, process.output[-2000:]
        return process.output


def of_pretraining(zygote: Zygote, data: Path) -> Subject:
    """Pre-training: two epochs of six steps on noise."""
    pretraining.pictures(data, 6 * 4)
    fixed = {"epochs": 2, "log_every": 3, "seed": 3, "batch_size": 4, "image_size": 16}
    return Subject(
        zygote,
        lambda folder, data=data, **changes: [
            *pretraining.flags(folder, **fixed | SELDOM | changes),
            f"--data={data}",  # the last one counts, also an empty one
        ],
        lambda folder: load_checkpoint(folder / "run" / LAST)["model"],
    )


def of_fine_tuning(zygote: Zygote, data: Path) -> Subject:
    """Fine-tuning: six steps on eight scenes, then evaluation."""
    root = fine_tuning.coco_root(data)
    return Subject(
        zygote,
        lambda folder, **changes: fine_tuning.flags(folder, root, **{"checkpoint_every": 2, **changes}),
        lambda folder: load_archive(folder / "run" / "model_final.pth")["model"],
    )
