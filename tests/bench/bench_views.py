"""Views: images a second on one core, from a file's bytes to two normalised views, pairs interleaved.

``official`` is what the released codes run: Pillow decodes, torchvision's transforms on Pillow images, ToTensor and
Normalize for every view. ``ours`` is the fast engine and the normalisation of whole batches; ``reference`` the same
with the reference engine. The photographs are the embedded backgrounds (JPEG, 480 x 320 px or so). Medians of pairs.
"""

import io
import random

import cv2
import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image, ImageFilter, ImageOps

from benchmark.core.folder import ROOT
from pretrain.images.loading import normalised
from pretrain.images.recipe import PUBLISHED, ViewRecipe, ViewSettings
from pretrain.images.views import make_views
from tests.bench.timing import interleaved

BACKGROUNDS = ROOT / "benchmark" / "embedded" / "pack" / "backgrounds"
SIZES = (48, 96, 224)
METHODS = ("kernel_ssl", "moco_v2", "barlow_twins")
PAIRS = 7


def official(recipe: ViewRecipe, size: int) -> T.Compose:
    """Return the released pipeline of a view as torchvision's transforms."""
    strengths = (recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue)
    steps = [
        T.RandomResizedCrop(size, recipe.crop_scale, interpolation=T.InterpolationMode(recipe.interpolation)),
        T.RandomApply([T.ColorJitter(*strengths)], recipe.jitter_p),
        T.RandomGrayscale(recipe.gray_p),
        T.RandomApply([_blur], recipe.blur_p),
        T.RandomApply([ImageOps.solarize], recipe.solarize_p),
        T.RandomHorizontalFlip(recipe.flip_p),
        T.ToTensor(),
        T.Normalize(recipe.mean, recipe.std),
    ]
    return T.Compose(steps)


def _blur(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def released(contents: list[bytes], pipelines: list[T.Compose]) -> list[torch.Tensor]:
    """Return a batch of each view as the released codes make it."""
    views = []
    for content in contents:
        with Image.open(io.BytesIO(content)) as file:
            picture = file.convert("RGB")
        views.append([pipeline(picture) for pipeline in pipelines])
    return [torch.stack(view) for view in zip(*views, strict=True)]


def ours(contents: list[bytes], settings: ViewSettings) -> list[torch.Tensor]:
    """Return a batch of each view as training gets it."""
    views = [make_views(content, (0, 0, index), settings) for index, content in enumerate(contents)]
    batches = [torch.from_numpy(np.stack(view)) for view in zip(*views, strict=True)]
    cpu = torch.device("cpu")
    return [normalised(batch, cpu, r.mean, r.std) for batch, r in zip(batches, settings.recipes, strict=True)]


def main() -> None:
    """Print images a second of three pipelines and how much faster the fast engine is than each of the others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    contents = [path.read_bytes() for path in sorted(BACKGROUNDS.glob("*.jpg"))]
    print(f"{'method':>13} {'px':>4} {'official':>9} {'reference':>10} {'ours':>6}  ours/official  ours/reference")
    for method in METHODS:
        for size in SIZES:
            recipes = PUBLISHED[method]
            pipelines = [official(recipe, size) for recipe in recipes]
            fast, slow = ViewSettings(size, "fast", recipes), ViewSettings(size, "reference", recipes)
            one = interleaved(lambda p=pipelines: released(contents, p), lambda s=fast: ours(contents, s), PAIRS)
            two = interleaved(lambda s=slow: ours(contents, s), lambda s=fast: ours(contents, s), PAIRS)
            speeds = [len(contents) / seconds for seconds in (one.first_s, two.first_s, one.second_s)]
            print(
                f"{method:>13} {size:4} {speeds[0]:9,.0f} {speeds[1]:10,.0f} {speeds[2]:6,.0f} "
                f"{one.ratio:14.2f} {two.ratio:15.2f}"
            )
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
