"""Kernels of the blur, which the fast and the batched engine filter with, in one pass along each side."""

import math
from typing import Literal

import cv2
import numpy as np

from pretrain.images.reference import gaussian_width


def blur_kernel(sigma: float, kind: Literal["pillow", "gaussian"], size: int) -> np.ndarray:
    """Return the kernel of a view's blur, (k,) float32 with k odd and sum 1.

    Args:
        sigma: in px.  kind: as ``ViewRecipe.blur_kind``.  size: side of the view in px.
    """
    return _pillow_kernel(sigma) if kind == "pillow" else _gaussian_kernel(sigma, gaussian_width(size))


def _gaussian_kernel(sigma: float, width: int) -> np.ndarray:
    """Return the Gaussian of the reference without the taps, beyond 4.5 sigma, that change no level."""
    kept = min(width // 2, math.ceil(4.5 * sigma))
    return cv2.getGaussianKernel(2 * kept + 1, sigma, cv2.CV_32F)[:, 0]


def _pillow_kernel(sigma: float) -> np.ndarray:
    """Return what Pillow's GaussianBlur amounts to: three box filters of fractional width (libImaging/BoxBlur.c).

    A box of radius r, whole part w, has w + w + 1 taps of weight 1 and one of r - w at either end, so that three in a
    row have the variance of the Gaussian. Pillow rounds after each box; this rounds once.
    """
    variance = sigma * sigma / 3
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    rest = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    box = np.array([rest, *[1.0] * (2 * whole + 1), rest]) / (2 * (whole + rest) + 1)
    return np.convolve(np.convolve(box, box), box).astype(np.float32)
