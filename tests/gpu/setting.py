"""Where the GPU tests compute, and what they compute on: photographs that are composed here, nothing downloaded."""

import contextlib
import os
from functools import cache
from pathlib import Path

import torch

from benchmark.embedded.composer import ensure_pretraining_images
from pretrain.images.listing import PathList, list_images
from pretrain.training.command_line import resolve
from pretrain.training.config import PretrainConfig

# "cpu" is for writing and checking these tests where there is no GPU: sizes are tiny and no figure means anything.
DEVICE = torch.device(os.environ.get("GPU_TESTS_DEVICE", "cuda"))
DRY = DEVICE.type == "cpu"
PHOTOGRAPHS, SIDE = (24, 96) if DRY else (256, 448)  # 448 px square: about the pixels of an ImageNet photograph


@cache
def photographs(copies: int = 1) -> Path:
    """Return a folder with composed photographs, each `copies` times under other names (hard links)."""
    plain = ensure_pretraining_images(PHOTOGRAPHS, SIDE, 0)
    if copies == 1:
        return plain
    folder = plain.with_name(f"{plain.name}-x{copies}")
    for image in sorted(plain.rglob("*.jpg")):
        target = folder / image.parent.name
        target.mkdir(parents=True, exist_ok=True)
        for number in range(copies):
            link = target / f"{image.stem}-{number}.jpg"
            with contextlib.suppress(FileExistsError):  # another process makes the same ones
                os.link(image, link)
    return folder


def paths(images: int) -> PathList:
    """Return a list of at least `images` photographs."""
    return list_images(photographs(-(-images // PHOTOGRAPHS)))


def config(**changes: object) -> PretrainConfig:
    """Return the config of a run at the released sizes (tiny on a CPU), with `changes`."""
    released = {"data": photographs(), "workers": 0, "epochs": 100, "device": DEVICE.type, "log_every": 10**6}
    tiny = {
        "arch": "resnet18", "image_size": 32, "projector_width": 32, "projector_hidden": 32, "predictor_hidden": 16,
    }  # fmt: skip
    options = {**released, **(tiny if DRY else {}), **changes}
    return resolve([f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None])


def synchronise() -> None:
    """Wait until the device has done all that it was asked to do."""
    if not DRY:
        torch.cuda.synchronize()


def batch_size(wanted: int) -> int:
    """Return a batch size, cut down where this is only a dry run on a CPU."""
    return min(wanted, 8) if DRY else wanted
