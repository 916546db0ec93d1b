"""Features of a fixed sample of images: as they are evaluated, and as several augmented views of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as F

from benchmark.core.errors import RunFailed, UserError
from benchmark.core.progress import progress
from pretrain.diagnostics.measures import LayerFeatures
from pretrain.images.collection import Images
from pretrain.images.decoding import decode
from pretrain.images.labels import find_labels
from pretrain.images.parameters import draw
from pretrain.images.recipe import PUBLISHED
from pretrain.images.views import apply_fast

AUGMENTATION = "moco_v2"  # of the views, the same for every method, so that methods can be compared
RESIZE = 256 / 224  # shorter side before the centre crop, over the crop
Encode = Callable[[Tensor], Mapping[str, Tensor]]  # (b, S, S, 3) uint8 RGB -> features (b, d) of every layer


@dataclass(frozen=True)
class Sample:
    """Which images are looked at, and how.

    Attributes:
        paths: the images; as many as are looked at.
        labels: (n,) class numbers, or None where the images lie in no class folders.
        image_size: side in px of centre crops and views.
        views: augmented views of each image, 2 or more, or 0 for none.
        seed: of the views.
    """

    paths: Images
    labels: np.ndarray | None
    image_size: int
    views: int
    seed: int


def make_sample(paths: Images, images: int, image_size: int, views: int, seed: int) -> Sample:
    """Return a sample of at most `images`, evenly spaced in the list; classes as ``find_labels`` finds them, if any."""
    chosen = paths.evenly(min(images, len(paths)))
    try:
        labels = find_labels(chosen).numbers
    except UserError:
        labels = None
    return Sample(chosen, labels, image_size, views, seed)


@dataclass(frozen=True)
class Extracted:
    """Features by layer, and the paths of images that could not be read, which were left out."""

    layers: dict[str, LayerFeatures]
    unreadable: list[str]


@torch.no_grad()
def extract(sample: Sample, encode: Encode, batch: int = 64, show: bool = True) -> Extracted:
    """Return the features of a sample.

    Args:
        encode: the network, in eval mode; it takes pixels and normalises them itself.
        batch: images in a forward pass.  show: whether to show progress.

    Raises:
        RunFailed: fewer than two images can be read.
    """
    found: dict[str, list[Tensor]] = {}
    pending: list[np.ndarray] = []
    kept, unreadable = [], []

    def flush() -> None:
        if pending:
            for layer, features in encode(torch.from_numpy(np.stack(pending))).items():
                found.setdefault(layer, []).append(features.float().cpu())
            pending.clear()

    numbers = range(len(sample.paths))
    for number in progress(numbers, "features of the sample", "image") if show else numbers:
        try:
            pictures = _pictures(sample, number)
        except (OSError, ValueError):
            unreadable.append(sample.paths[number])
            continue
        kept.append(number)
        pending += pictures
        if len(pending) >= batch:
            flush()
    flush()
    if len(kept) < 2:
        raise RunFailed(f"only {len(kept)} of {len(sample.paths)} images can be read; diagnostics need two or more")
    labels = None if sample.labels is None else torch.from_numpy(sample.labels[kept])
    return Extracted({name: _layer(parts, sample.views, labels) for name, parts in found.items()}, unreadable)


def _pictures(sample: Sample, number: int) -> list[np.ndarray]:
    """Return the centre crop of an image and its augmented views, (S, S, 3) uint8 each."""
    image = decode(sample.paths.read(number))
    recipe = PUBLISHED[AUGMENTATION][0]
    drawn = [draw((sample.seed, number, view), *image.shape[:2], recipe) for view in range(sample.views)]
    return [centre_crop(image, sample.image_size)] + [apply_fast(image, d, recipe, sample.image_size) for d in drawn]


def centre_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Return the centre of an (h, w, 3) uint8 image, (size, size, 3): its shorter side resized to 256/224 of that."""
    resized = F.resize(Image.fromarray(image), round(size * RESIZE))
    return np.array(F.center_crop(resized, [size, size]))


def _layer(parts: list[Tensor], views: int, labels: Tensor | None) -> LayerFeatures:
    """Take apart the rows of one layer: of every image the centre crop, then its views."""
    rows = torch.cat(parts)
    if not torch.isfinite(rows).all():
        raise RunFailed("the features are not finite; the weights are damaged or their training diverged")
    rows = rows.view(-1, 1 + views, rows.shape[1])
    return LayerFeatures(rows[:, 0], rows[:, 1:] if views else None, labels)
