"""Drawing what happens to an image in a view, before any engine touches it.

The distributions are those of torchvision's transforms. The generator is keyed by (seed, epoch, image, view), so that
engines, workers, processes and resuming change nothing.
"""

import math
from dataclasses import dataclass

import numpy as np

from pretrain.images.recipe import ViewRecipe

Box = tuple[int, int, int, int]
CROP_TRIES = 10


@dataclass(frozen=True)
class ViewParameters:
    """What happens to one image in one view; None where a step does not take place.

    Attributes:
        box: top, left, height, width of the crop, in px of the image.
        jitter: pairs (operation, factor) in order of application; the operations are ``brightness``, ``contrast``,
            ``saturation`` and ``hue``, and a hue factor is a share of the colour circle in [-0.5, 0.5].
        gray: whether the view turns grey.
        blur: sigma in px of the view.
        solarize: whether levels from 128 on are inverted.
        flip: whether the view is mirrored.
    """

    box: Box
    jitter: tuple[tuple[str, float], ...] | None = None
    gray: bool = False
    blur: float | None = None
    solarize: bool = False
    flip: bool = False


def draw(key: tuple[int, ...], height: int, width: int, recipe: ViewRecipe) -> ViewParameters:
    """Draw the parameters of one view of an image of that size in px.

    Args:
        key: non-negative integers that name the view, such as (seed, epoch, image index, view).
    """
    rng = np.random.default_rng(np.random.SeedSequence(key))
    box = _draw_box(rng, height, width, recipe)
    jitter = _draw_jitter(rng, recipe) if rng.random() < recipe.jitter_p else None
    gray = rng.random() < recipe.gray_p
    blur = float(rng.uniform(*recipe.blur_sigma)) if rng.random() < recipe.blur_p else None
    solarize = rng.random() < recipe.solarize_p
    return ViewParameters(box, jitter, bool(gray), blur, bool(solarize), bool(rng.random() < recipe.flip_p))


def _draw_box(rng: np.random.Generator, height: int, width: int, recipe: ViewRecipe) -> Box:
    """Draw torchvision's RandomResizedCrop box: ten tries, then the largest central crop of an allowed ratio."""
    low, high = recipe.crop_ratio
    for _ in range(CROP_TRIES):
        area = height * width * rng.uniform(*recipe.crop_scale)
        ratio = math.exp(rng.uniform(math.log(low), math.log(high)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    ratio = min(max(width / height, low), high)
    w = max(1, min(width, round(height * ratio)))
    h = max(1, min(height, round(width / ratio)))
    return (height - h) // 2, (width - w) // 2, h, w


def _draw_jitter(rng: np.random.Generator, recipe: ViewRecipe) -> tuple[tuple[str, float], ...]:
    """Draw torchvision's ColorJitter: a factor for each operation, and their order; strength 0 leaves one out."""
    strengths = {name: getattr(recipe, name) for name in ("brightness", "contrast", "saturation")}
    factors = {name: float(rng.uniform(max(0.0, 1 - s), 1 + s)) for name, s in strengths.items()}
    factors["hue"] = float(rng.uniform(-recipe.hue, recipe.hue))
    names = list(factors)
    order = [names[k] for k in rng.permutation(4)]
    return tuple((name, factors[name]) for name in order if getattr(recipe, name) > 0)
