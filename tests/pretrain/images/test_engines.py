"""The fast engine against the reference engine: how close, for every operation and for the views of every method."""

import dataclasses

import cv2
import numpy as np
import pytest
from PIL import Image

from pretrain.images.decoding import decode
from pretrain.images.fast import apply_fast
from pretrain.images.parameters import ViewParameters, draw
from pretrain.images.recipe import PUBLISHED, ViewRecipe
from pretrain.images.reference import apply_reference
from tests.pretrain.images.pictures import photographs

PLAIN = ViewParameters(box=(30, 40, 224, 224))  # a crop that is not resized at 224 px: only the operation differs
RECIPE = ViewRecipe()
BICUBIC, TRUE_BLUR, GREY_FIRST = (
    dataclasses.replace(RECIPE, **change)
    for change in ({"interpolation": "bicubic"}, {"blur_kind": "gaussian"}, {"gray_first": True})
)

# Of every operation alone, over 8 photographs: greatest mean difference, greatest difference of the means (brightness),
# and 99th percentile, in grey levels of 255.
TOLERANCES = [
    pytest.param({"box": (10, 20, 290, 280)}, RECIPE, 112, 0.5, 0.05, 1, id="shrink"),
    pytest.param({"box": (100, 120, 60, 45)}, RECIPE, 112, 0.5, 0.05, 1, id="enlarge"),
    pytest.param({"box": (10, 20, 130, 98)}, RECIPE, 112, 0.5, 0.05, 1, id="only the height shrinks"),
    pytest.param({"box": (10, 20, 98, 130)}, RECIPE, 112, 0.5, 0.05, 1, id="only the width shrinks"),
    pytest.param({"box": (10, 20, 290, 280)}, BICUBIC, 112, 0.5, 0.05, 1, id="shrink, bicubic"),
    pytest.param({"box": (100, 120, 60, 45)}, BICUBIC, 112, 0.5, 0.05, 1, id="enlarge, bicubic"),
    pytest.param({"box": (10, 20, 98, 130)}, BICUBIC, 112, 0.5, 0.05, 1, id="only the width shrinks, bicubic"),
    pytest.param({"jitter": (("brightness", 0.6),)}, RECIPE, 224, 0.01, 0.01, 0, id="darker"),
    pytest.param({"jitter": (("brightness", 1.8),)}, RECIPE, 224, 0.01, 0.01, 0, id="brighter"),
    pytest.param({"jitter": (("contrast", 0.6),)}, RECIPE, 224, 0.1, 0.1, 1, id="flatter"),
    pytest.param({"jitter": (("contrast", 1.8),)}, RECIPE, 224, 0.2, 0.2, 1, id="steeper"),
    pytest.param({"jitter": (("saturation", 0.8),)}, RECIPE, 224, 0.05, 0.05, 1, id="paler"),
    pytest.param({"jitter": (("saturation", 0.2),)}, RECIPE, 224, 0.05, 0.05, 1, id="nearly grey"),
    pytest.param({"jitter": (("saturation", 1.8),)}, RECIPE, 224, 0.05, 0.05, 1, id="more colourful"),
    pytest.param({"jitter": (("hue", 0.1),)}, RECIPE, 224, 0.5, 0.4, 4, id="hue forth"),
    pytest.param({"jitter": (("hue", -0.4),)}, RECIPE, 224, 0.5, 0.4, 4, id="hue back"),
    pytest.param({"gray": True}, RECIPE, 224, 0.1, 0.1, 1, id="grey"),
    pytest.param(
        {"gray": True, "jitter": (("hue", 0.1), ("saturation", 0.5))}, GREY_FIRST, 224, 0.1, 0.1, 1, id="grey first"
    ),
    pytest.param({"blur": 0.1}, RECIPE, 224, 0.3, 0.1, 1, id="blur 0.1"),
    pytest.param({"blur": 0.3}, RECIPE, 224, 0.8, 0.1, 2, id="blur 0.3"),
    pytest.param({"blur": 0.7}, RECIPE, 224, 0.7, 0.1, 2, id="blur 0.7"),
    pytest.param({"blur": 1.3}, RECIPE, 224, 0.4, 0.1, 2, id="blur 1.3"),
    pytest.param({"blur": 2.0}, RECIPE, 224, 0.4, 0.1, 2, id="blur 2"),
    pytest.param({"blur": 0.3}, TRUE_BLUR, 224, 0.01, 0.01, 0, id="true blur 0.3"),
    pytest.param({"blur": 2.0}, TRUE_BLUR, 224, 0.01, 0.01, 0, id="true blur 2"),
    pytest.param({"solarize": True}, RECIPE, 224, 0.0, 0.0, 0, id="solarize"),
    pytest.param({"flip": True}, RECIPE, 224, 0.0, 0.0, 0, id="flip"),
]


@pytest.mark.parametrize(("change", "recipe", "size", "mean", "bias", "percentile"), TOLERANCES)
def test_every_operation_agrees_between_the_engines(change, recipe, size, mean, bias, percentile):
    for content in photographs():
        image = decode(content)
        drawn = dataclasses.replace(PLAIN, **change)
        fast, reference = (engine(image, drawn, recipe, size).astype(int) for engine in (apply_fast, apply_reference))
        if "box" not in change:
            assert not np.array_equal(fast, apply_fast(image, PLAIN, recipe, size)) or change.get("blur") == 0.1
        difference = np.abs(fast - reference)
        assert difference.mean() <= mean
        assert abs((fast - reference).mean()) <= bias
        assert np.percentile(difference, 99) <= percentile


@pytest.mark.parametrize("size", [48, 112, 224])
@pytest.mark.parametrize("name", ["kernel_ssl", "barlow_twins"])
def test_crops_are_as_sharp_as_the_references(name, size):
    """The root mean square of the Laplacian, over crops as the recipe draws them; another filter shows as 1.1."""
    recipe = PUBLISHED[name][0]

    def sharpness(engine):
        squares = []
        for i, content in enumerate(photographs(8)):
            image = decode(content)
            drawn = ViewParameters(draw((2, i), *image.shape[:2], recipe).box)
            squares.append(cv2.Laplacian(engine(image, drawn, recipe, size), cv2.CV_32F).astype(float) ** 2)
        return np.sqrt(np.mean(squares))

    assert abs(sharpness(apply_fast) / sharpness(apply_reference) - 1) < 0.005


@pytest.mark.parametrize("size", [32, 96, 224])
@pytest.mark.parametrize("name", PUBLISHED)
def test_whole_views_agree_between_the_engines(name, size):
    differences = []
    for view, recipe in enumerate(PUBLISHED[name]):
        for i, content in enumerate(photographs(8)):
            image = decode(content)
            drawn = draw((0, i, view), *image.shape[:2], recipe)
            fast, reference = (engine(image, drawn, recipe, size) for engine in (apply_fast, apply_reference))
            assert fast.shape == reference.shape == (size, size, 3)
            assert fast.dtype == reference.dtype == np.uint8
            differences.append(np.abs(fast.astype(int) - reference).mean())
    assert np.mean(differences) < 0.4
    assert max(differences) < 1.5  # another crop or hue differs by 20 and more


@pytest.mark.parametrize("engine", [apply_fast, apply_reference])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (30, 1), (2, 3), (3, 700)])
@pytest.mark.parametrize("name", ["kernel_ssl", "simclr"])
def test_tiny_and_narrow_images(size, engine, name):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    recipe = PUBLISHED[name][0]
    for i in range(20):
        assert engine(image, draw((i,), *size, recipe), recipe, 16).shape == (16, 16, 3)


@pytest.mark.parametrize("engine", [apply_fast, apply_reference])
def test_a_plain_image_stays_plain(engine):
    """No operation of a recipe brings structure into one colour: borders, rounding and filters show here."""
    image = np.array(Image.new("RGB", (60, 50), (200, 120, 40)))
    for name, views in PUBLISHED.items():
        for i in range(20):
            view = engine(image, draw((i,), 50, 60, views[-1]), views[-1], 32)
            assert np.ptp(view.reshape(-1, 3), axis=0).max() <= 1, name
