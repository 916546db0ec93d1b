"""The fast engine: the reference's steps by torch's antialiased resize, OpenCV and look-up tables.

It is close to the reference engine, not equal to it; tests/pretrain/images/test_engines.py says how close.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from pretrain.images.kernels import blur_kernel
from pretrain.images.parameters import Box, ViewParameters
from pretrain.images.recipe import SOLARIZE_THRESHOLD, ViewRecipe


def apply_fast(image: np.ndarray, drawn: ViewParameters, recipe: ViewRecipe, size: int) -> np.ndarray:
    """Return the view, (size, size, 3) uint8 RGB, of an (h, w, 3) uint8 RGB image."""
    view = _resized_crop(image, drawn.box, size, recipe.interpolation)
    gray_first = drawn.gray and recipe.gray_first
    if gray_first:
        view = _gray(view)
    for operation, factor in drawn.jitter or ():
        if not (gray_first and operation in ("saturation", "hue")):  # which leave grey as it is
            view = _ADJUST[operation](view, factor)
    if drawn.gray and not recipe.gray_first:
        view = _gray(view)
    if drawn.blur is not None:
        view = _blur(view, drawn.blur, recipe.blur_kind)
    if drawn.solarize:
        view = cv2.LUT(view, _SOLARIZE)
    return cv2.flip(view, 1) if drawn.flip else view


def _resized_crop(image: np.ndarray, box: Box, size: int, interpolation: str) -> np.ndarray:
    """Resize a crop as Pillow does, whose filter widens along each side that shrinks: within one level of it."""
    top, left, height, width = box
    crop = torch.from_numpy(image[top : top + height, left : left + width]).permute(2, 0, 1)[None]
    resized = F.interpolate(crop, (size, size), mode=interpolation, antialias=True)[0].numpy()
    return cv2.merge((resized[0], resized[1], resized[2]))  # torch returns planes, and turns them ten times slower


def _gray(view: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


_LEVELS = np.arange(256)
_SOLARIZE = np.where(_LEVELS < SOLARIZE_THRESHOLD, _LEVELS, 255 - _LEVELS).astype(np.uint8)
# Pillow's blend cuts off fractions where OpenCV rounds; nearly half a level less does the same, also to whole numbers.
_CUT = -0.499


def _brightness(view: np.ndarray, factor: float) -> np.ndarray:
    return cv2.convertScaleAbs(view, alpha=factor, beta=_CUT)  # -0.499 rounds to 0, so nothing is negative


def _contrast(view: np.ndarray, factor: float) -> np.ndarray:
    mean = int(cv2.mean(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY))[0] + 0.5)
    return cv2.addWeighted(view, factor, view, 0, (1 - factor) * mean + _CUT)


def _saturation(view: np.ndarray, factor: float) -> np.ndarray:
    return cv2.addWeighted(view, factor, _gray(view), 1 - factor, _CUT)


def _hue(view: np.ndarray, factor: float) -> np.ndarray:
    hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV_FULL)
    # Wraps round the colour circle. One step less, since Pillow cuts hues off to whole steps and OpenCV rounds.
    hsv[..., 0] += np.uint8((int(factor * 255) - 1) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


_ADJUST = {"brightness": _brightness, "contrast": _contrast, "saturation": _saturation, "hue": _hue}


def _blur(view: np.ndarray, sigma: float, kind: str) -> np.ndarray:
    """Filter with the kernel of the reference, in one pass along each side."""
    kernel = blur_kernel(sigma, kind, len(view))
    border = cv2.BORDER_REPLICATE if kind == "pillow" else cv2.BORDER_REFLECT_101
    return cv2.sepFilter2D(view, -1, kernel, kernel, borderType=border)
