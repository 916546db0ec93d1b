"""The reference engine: torchvision's operations on Pillow images, in the order of the released code."""

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from pretrain.images.parameters import ViewParameters
from pretrain.images.recipe import SOLARIZE_THRESHOLD, ViewRecipe

_ADJUST = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
}


def apply_reference(image: np.ndarray, drawn: ViewParameters, recipe: ViewRecipe, size: int) -> np.ndarray:
    """Return the view, (size, size, 3) uint8 RGB, of an (h, w, 3) uint8 RGB image."""
    view = F.resized_crop(
        Image.fromarray(image), *drawn.box, [size, size], interpolation=InterpolationMode(recipe.interpolation)
    )
    if drawn.flip and recipe.flip_first:
        view = F.hflip(view)
    if drawn.gray and recipe.gray_first:
        view = F.rgb_to_grayscale(view, num_output_channels=3)
    for operation, factor in drawn.jitter or ():
        view = _ADJUST[operation](view, factor)
    if drawn.gray and not recipe.gray_first:
        view = F.rgb_to_grayscale(view, num_output_channels=3)
    if drawn.blur is not None:
        view = _blur(view, drawn.blur, recipe)
    if drawn.solarize:
        view = ImageOps.solarize(view, SOLARIZE_THRESHOLD)
    if drawn.flip and not recipe.flip_first:
        view = F.hflip(view)
    return np.array(view)  # writable, as torch wants it


def gaussian_width(size: int) -> int:
    """Return the odd width in px of the Gaussian kernel for a view of `size` px: a tenth of it, 23 at 224.

    google-research/simclr data_util.py:387-440; a view below 20 px gets the smallest kernel that blurs, 3 px.
    """
    return 2 * max(1, size // 10 // 2) + 1


def _blur(view: Image.Image, sigma: float, recipe: ViewRecipe) -> Image.Image:
    if recipe.blur_kind == "gaussian":
        return F.gaussian_blur(view, gaussian_width(view.width), sigma)
    return view.filter(ImageFilter.GaussianBlur(radius=sigma))
