"""Frozen features of an image folder with class folders, computed once and kept in a file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision.transforms.functional as F
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmark.core.errors import RunFailed
from benchmark.core.files import write_bytes
from benchmark.core.progress import progress
from pretrain.engine.workers import start_worker
from pretrain.images.decoding import decode
from pretrain.images.listing import PathList
from pretrain.images.loading import normalised
from transfer.probing.splits import LabelledImages

RESIZE = 256 / 224  # shorter side before the centre crop, over the crop
MOST_UNREADABLE = 0.01
AUTOCAST = {"bf16": torch.bfloat16}


class _CentreCrops(Dataset[tuple[int, np.ndarray | None]]):
    """Each image's centre crop, (S, S, 3) uint8, or None when it cannot be read."""

    def __init__(self, paths: PathList, size: int):
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, np.ndarray | None]:
        try:
            image = Image.fromarray(decode(Path(self.paths[index]).read_bytes()))
        except Exception:  # Pillow's readers raise nearly anything on damaged files
            return index, None
        image = F.center_crop(F.resize(image, round(self.size * RESIZE)), [self.size, self.size])
        return index, np.asarray(image)


def _collate(items: list[tuple[int, np.ndarray | None]]) -> tuple[Tensor | None, list[int], list[int]]:
    """Return the readable images (b, S, S, 3), their numbers, and the numbers of the unreadable ones."""
    readable = [(index, image) for index, image in items if image is not None]
    unreadable = [index for index, image in items if image is None]
    stacked = torch.from_numpy(np.stack([image for _, image in readable])) if readable else None
    return stacked, [index for index, _ in readable], unreadable


@dataclass(frozen=True)
class Features:
    """``features`` (n, d) float32 and ``labels`` (n,) int64 of the readable images; ``unreadable`` counts the rest."""

    features: Tensor
    labels: Tensor
    unreadable: int

    def pair(self) -> tuple[Tensor, Tensor]:
        """Return features and labels."""
        return self.features, self.labels


@torch.no_grad()
def extract(
    backbone: nn.Module,
    images: LabelledImages,
    *,
    size: int,
    batch: int,
    workers: int,
    device: torch.device,
    precision: str = "fp32",
) -> Features:
    """Return the features of every readable image: resized, centre crop, backbone in eval mode.

    Args:
        backbone: maps (b, 3, size, size) to (b, d).
        images: one split.
        size: of the crop in px; the shorter side is resized to 256/224 of it before, bilinear with antialiasing.
        batch: images in a forward pass.  workers: processes that read; 0: this one.
        device: to compute on.  precision: ``fp32`` or ``bf16`` autocast; features are float32 either way.

    Raises:
        RunFailed: more than 1 % of the images cannot be read, or a feature is not finite.
    """
    loader = DataLoader(
        _CentreCrops(images.paths, size),
        batch_size=batch,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=start_worker,
        generator=torch.Generator(),
    )
    backbone = backbone.to(device, memory_format=torch.channels_last).eval()
    parts, numbers, unreadable = [], [], []
    kind = AUTOCAST.get(precision)
    for stacked, readable, bad in progress(loader, f"features of {images.name}", "batch"):
        unreadable += bad
        if stacked is not None:
            with torch.autocast(device.type, kind, enabled=kind is not None):
                parts.append(backbone(normalised(stacked, device)).float().cpu())
            numbers += readable
    if len(unreadable) > MOST_UNREADABLE * len(images.paths):
        raise RunFailed(
            f"{len(unreadable)} of {len(images.paths)} images cannot be read, more than {MOST_UNREADABLE:.0%}, such as "
            f"{images.paths[unreadable[0]]}; mend or remove them."
        )
    features = torch.cat(parts)
    if not torch.isfinite(features).all():
        raise RunFailed("the backbone's features are not finite; the weights are damaged or their training diverged")
    return Features(features, torch.from_numpy(images.labels[numbers]), len(unreadable))


def read_features(path: str | Path) -> Features | None:
    """Read features that ``write_features`` kept; None when there are none or the file is damaged."""
    try:
        content = load_file(path)
        return Features(content["features"], content["labels"], int(content["unreadable"]))
    except (OSError, SafetensorError, KeyError):
        return None


def write_features(path: str | Path, features: Features) -> None:
    """Keep features in a safetensors file, written atomically."""
    content = {
        "features": features.features.contiguous(),
        "labels": features.labels.contiguous(),
        "unreadable": torch.tensor(features.unreadable),
    }
    write_bytes(path, save(content))
