"""The blur's kernels by what is known of them: sum, symmetry, variance, and the Gaussian written out."""

import math

import numpy as np
import pytest

from pretrain.images.kernels import blur_kernel

SIGMAS = [0.1, 0.3, 0.5, 0.9, 1.0, 1.3, 1.99, 2.0, 5.0]


@pytest.mark.parametrize("kind", ["pillow", "gaussian"])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_kernel_is_odd_symmetric_and_keeps_the_mean(sigma, kind):
    kernel = blur_kernel(sigma, kind, 224)
    assert kernel.dtype == np.float32
    assert kernel.ndim == len(kernel) % 2 == 1
    assert np.array_equal(kernel, kernel[::-1])
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert kernel.min() >= 0
    assert kernel.argmax() == len(kernel) // 2


@pytest.mark.parametrize("sigma", SIGMAS)
def test_three_boxes_have_the_variance_of_the_gaussian(sigma):
    """Which is how Pillow chooses their fractional radius (Gwosdek et al. 2011, section 2)."""
    kernel = blur_kernel(sigma, "pillow", 224)
    places = np.arange(len(kernel)) - len(kernel) // 2
    assert (kernel * places**2).sum() == pytest.approx(sigma**2, rel=1e-4)


def test_three_boxes_of_a_whole_radius_by_hand():
    """A box of three equal taps has variance 2/3, so three of them have sigma sqrt(2): (1, 1, 1) thrice."""
    kernel = blur_kernel(math.sqrt(2), "pillow", 224)
    middle = len(kernel) // 2
    assert kernel[middle - 3 : middle + 4] * 27 == pytest.approx([1, 3, 6, 7, 6, 3, 1], abs=1e-4)


@pytest.mark.parametrize(("size", "width"), [(224, 23), (96, 9), (48, 5)])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_true_gaussian_is_a_tenth_of_the_view_wide_and_ends_at_four_and_a_half_sigma(sigma, size, width):
    kernel = blur_kernel(sigma, "gaussian", size)
    places = np.arange(-(width // 2), width // 2 + 1)
    whole = np.exp(-(places**2) / (2 * sigma**2))
    kept = min(width // 2, math.ceil(4.5 * sigma))
    assert len(kernel) == 2 * kept + 1
    assert kernel == pytest.approx((whole / whole.sum())[width // 2 - kept : width // 2 + kept + 1], abs=1e-5)
