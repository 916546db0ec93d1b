"""Frozen features of an image folder with class folders, computed once and kept in a file."""

import os
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

from benchmark.core.errors import RunFailed, UserError
from benchmark.core.files import sha256_of, write_bytes
from benchmark.core.progress import progress
from pretrain.engine.workers import start_worker
from pretrain.images.decoding import decode
from pretrain.images.listing import PathList, list_images
from pretrain.images.loading import normalised

TRAIN_FOLDERS = ("train",)
TEST_FOLDERS = ("validation", "val", "test")
RESIZE = 256 / 224  # shorter side before the centre crop, over the crop
MOST_UNREADABLE = 0.01
AUTOCAST = {"bf16": torch.bfloat16}


@dataclass(frozen=True)
class LabelledImages:
    """One split: ``paths`` and ``labels``, (n,) int64, the class of each; ``name`` of the split's folder."""

    name: str
    paths: PathList
    labels: np.ndarray

    def fingerprint(self) -> str:
        """Return the SHA-256 of the images' names, sizes and times of change, and of the labels."""
        facts = []
        for i in range(len(self.paths)):
            status = os.stat(self.paths[i])
            name = os.path.relpath(self.paths[i], self.paths.root)
            facts.append((name, status.st_size, status.st_mtime_ns, int(self.labels[i])))
        return sha256_of(facts)


def find_splits(root: str | Path) -> tuple[LabelledImages, LabelledImages, list[str]]:
    """Return the training split, the test split and the class names of ``root/{train,validation}/<class>/*``.

    The test split is the first of validation, val and test that exists.

    Raises:
        UserError: a split is missing or empty, an image lies in no class folder, fewer than two classes, or a class
            of the test split is not in the training split.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; give --data the folder that holds train/ and validation/.")
    listed = []
    for kind, names in (("training", TRAIN_FOLDERS), ("test", TEST_FOLDERS)):
        name = next((name for name in names if (root / name).is_dir()), None)
        if name is None:
            raise UserError(f"{root} has no folder {' or '.join(names)} for the {kind} images; make one.")
        paths = list_images(root / name)
        listed.append((name, paths, [_class_of(paths, i) for i in range(len(paths))]))
    classes = sorted(set(listed[0][2]))
    if len(classes) < 2:
        raise UserError(f"{root / listed[0][0]} has only the class {classes[0]!r}; a classifier needs two or more.")
    if unknown := sorted(set(listed[1][2]) - set(classes)):
        raise UserError(f"{root / listed[1][0]} has the class {unknown[0]!r}, which {listed[0][0]}/ has not.")
    number = {name: i for i, name in enumerate(classes)}
    splits = [
        LabelledImages(name, paths, np.array([number[c] for c in folders], np.int64)) for name, paths, folders in listed
    ]
    return splits[0], splits[1], classes


def _class_of(paths: PathList, index: int) -> str:
    folder, separator, _ = os.path.relpath(paths[index], paths.root).partition(os.sep)
    if not separator:
        raise UserError(f"{paths[index]} lies in no class folder; sort the images into one folder a class.")
    return folder


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
