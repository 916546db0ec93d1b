"""Features to study: synthetic ones of three kinds, and those of a checkpoint on images."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmark.core.errors import UserError
from benchmark.core.progress import progress
from benchmark.embedded.composer import ensure_pretraining_images
from pretrain.engine.checkpoint import load_checkpoint
from pretrain.images.loading import make_loader, normalised
from pretrain.images.recipe import ViewSettings
from pretrain.methods.registry import make_method
from pretrain.shards.find import find_images
from pretrain.training.config import make_config

BATCH = 32


class TwoBranches(NamedTuple):
    """What the loss is given: predictions and momentum projections of two views, each (m, d), float64."""

    online_1: Tensor
    online_2: Tensor
    target_1: Tensor
    target_2: Tensor


def synthetic(samples: int, width: int, seed: int) -> dict[str, TwoBranches]:
    """Return features of three kinds: a common signal, and noise of its own for each branch and view.

    spread: Gaussian rows.  clustered: ten tight clusters.  collapsed: the two ends of one direction, and 5 % noise.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    signals = {
        "spread": (normal(samples, width), 0.3),
        "clustered": (normal(10, width)[torch.arange(samples) % 10], 0.2),
        "collapsed": (normal(samples, 1).sign() * normal(1, width), 0.05),
    }
    return {
        name: TwoBranches(*(signal + noise * normal(samples, width) for _ in range(4)))
        for name, (signal, noise) in signals.items()
    }


@torch.no_grad()
def from_checkpoint(path: str, data: str | None, images: int, seed: int) -> TwoBranches:
    """Return the features of a checkpoint of pretrain/run.py on augmented views of `images` images.

    More than 32 images are rounded down to a multiple of 32. Batch norm runs in eval mode, with the statistics of
    training.

    Raises:
        UserError: no checkpoint of ours, or too few images in `data` (None: the embedded photographs).
    """
    checkpoint = load_checkpoint(path)
    c = checkpoint["config"]
    if c.get("method", "kernel_ssl") != "kernel_ssl":
        raise UserError(f"{path} is of --method {c['method']}; this study is about the loss of kernel_ssl.")
    method = make_method(make_config(**c))
    method.load_state_dict(checkpoint["model"])
    method.eval()
    paths = find_images(_folder(data))
    if len(paths) < images:
        raise UserError(f"{data or 'the embedded set'} has {len(paths)} images; give --images {len(paths)} or fewer.")
    size = min(BATCH, images)
    batches = images // size
    settings = ViewSettings(c["image_size"])
    loader = make_loader(paths, settings, batch_size=size, seed=seed, workers=0, total_iterations=batches)
    parts: list[list[Tensor]] = [[], [], [], []]
    for batch in progress(loader, "features", "batch", total=batches):
        views = [normalised(view, torch.device("cpu")) for view in batch.views]
        outputs = [*method.encode(views).rows, *method.target(views)]
        for part, output in zip(parts, outputs, strict=True):
            part.append(output.double())
    return TwoBranches(*(torch.cat(part) for part in parts))


def _folder(data: str | None) -> str | Path:
    if data is not None:
        return data
    return ensure_pretraining_images()
