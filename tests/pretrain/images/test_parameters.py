"""Parameters of views: drawn with the distributions of torchvision's transforms, and decided by their key alone."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
import torchvision.transforms as T

from pretrain.images.parameters import draw
from pretrain.images.recipe import PUBLISHED, ViewRecipe

KERNEL_SSL = PUBLISHED["kernel_ssl"]


def draws(n, recipe, height=240, width=320):
    return [draw((1, i), height, width, recipe) for i in range(n)]


def same_distribution(a, b):
    return scipy.stats.ks_2samp(a, b).pvalue > 1e-3


@pytest.mark.parametrize("scale", [(0.2, 1.0), (0.08, 1.0)])
@pytest.mark.parametrize(("height", "width"), [(240, 320), (500, 120)])
def test_crops_are_distributed_as_random_resized_crop(height, width, scale):
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = np.array([T.RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(3000)])
    ours = np.array([p.box for p in draws(3000, ViewRecipe(scale), height, width)])
    for column in range(4):
        assert same_distribution(ours[:, column], theirs[:, column])
    for box in (ours, theirs):
        assert (box[:, 0] + box[:, 2] <= height).all()
        assert (box[:, 1] + box[:, 3] <= width).all()
    areas = ours[:, 2] * ours[:, 3] / (height * width)
    assert areas.min() > scale[0] * 0.9
    ratios = ours[:, 3] / ours[:, 2]
    assert ratios.min() > 0.73
    assert ratios.max() < 1.37


@pytest.mark.parametrize(("height", "width"), [(900, 20), (20, 900), (1, 300), (300, 1), (3, 4), (1, 1)])
def test_the_crop_after_ten_tries_is_torchvisions(height, width):
    """Only an image so narrow that no draw fits: the largest central crop of an allowed ratio."""
    whole = ViewRecipe((1.0, 1.0))  # the area of the image and a ratio of at most 4/3: fits none of these
    (theirs,) = {T.RandomResizedCrop.get_params(torch.empty(3, height, width), (1, 1), (3 / 4, 4 / 3))}
    found = {p.box for p in draws(50, whole, height, width)}
    assert theirs in found
    if max(height, width) > 2 * min(height, width):
        assert found == {theirs}


@pytest.mark.parametrize("name", ["kernel_ssl", "moco_v1", "simclr"])
def test_jitter_is_distributed_as_color_jitter(name):
    torch.manual_seed(0)
    recipe = PUBLISHED[name][0]
    names = ("brightness", "contrast", "saturation", "hue")
    official = T.ColorJitter(*(getattr(recipe, name) for name in names))
    theirs = [T.ColorJitter.get_params(*(getattr(official, name) for name in names)) for _ in range(3000)]
    ours = [dict(p.jitter) for p in draws(4000, recipe) if p.jitter]
    for i, name in enumerate(names):
        assert same_distribution([jitter[name] for jitter in ours], [jitter[1 + i] for jitter in theirs])
    orders = [tuple(name for name, _ in p.jitter) for p in draws(4000, recipe) if p.jitter]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == math.factorial(4)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_strengths_above_one_and_of_zero():
    recipe = ViewRecipe(brightness=1.5, contrast=0.0, saturation=0.0, hue=0.0, jitter_p=1.0)
    found = [p.jitter for p in draws(500, recipe)]
    assert {len(jitter) for jitter in found} == {1}
    factors = [factor for ((name, factor),) in found if name == "brightness"]
    assert len(factors) == 500
    assert 0 <= min(factors) < 0.1 < 2.4 < max(factors) <= 2.5


@pytest.mark.parametrize(
    ("name", "view"), [(name, view) for name, views in PUBLISHED.items() for view in range(len(views))]
)
def test_every_operation_has_the_probability_of_its_recipe(name, view):
    n = 3000
    recipe = PUBLISHED[name][view]
    found = draws(n, recipe)
    happened = {
        key: np.array([bool(getattr(p, key)) for p in found]) for key in ("jitter", "gray", "blur", "solarize", "flip")
    }
    for key, values in happened.items():
        probability = getattr(recipe, f"{key}_p")
        assert abs(values.mean() - probability) <= 4 * math.sqrt(probability * (1 - probability) / n)
    for a, b in (("jitter", "gray"), ("gray", "flip"), ("solarize", "blur"), ("jitter", "flip"), ("gray", "blur")):
        both, separate = (happened[a] & happened[b]).mean(), happened[a].mean() * happened[b].mean()
        assert abs(both - separate) < 0.03  # independent of each other
    sigmas = [p.blur for p in found if p.blur is not None]
    if sigmas:
        assert scipy.stats.kstest(sigmas, scipy.stats.uniform(0.1, 1.9).cdf).pvalue > 1e-3


def test_the_key_alone_decides_a_view():
    recipe = KERNEL_SSL[0]
    first = draw((3, 5, 7, 0), 240, 320, recipe)
    assert first == draw((3, 5, 7, 0), 240, 320, recipe)
    for key in ((4, 5, 7, 0), (3, 6, 7, 0), (3, 5, 8, 0), (5, 3, 7, 0), (3, 5, 7, 1)):
        assert draw(key, 240, 320, recipe) != first


def test_the_crop_scale_is_used():
    areas = [p.box[2] * p.box[3] / (240 * 320) for p in draws(300, ViewRecipe((0.5, 0.6)))]
    assert 0.48 < min(areas) < max(areas) < 0.62
