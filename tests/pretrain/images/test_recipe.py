"""The published recipes, equal to what each release writes in torchvision's words; bad recipes are refused."""

import dataclasses

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from PIL import Image, ImageFilter, ImageOps

from pretrain.images.decoding import decode
from pretrain.images.loading import normalised
from pretrain.images.parameters import draw
from pretrain.images.recipe import PUBLISHED, ViewRecipe
from pretrain.images.reference import apply_reference
from tests.pretrain.images.pictures import photographs

JITTER = ["brightness", "contrast", "saturation", "hue"]
BILINEAR, BICUBIC = T.InterpolationMode.BILINEAR, T.InterpolationMode.BICUBIC
IMAGENET = T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


class Chance:
    """What the releases draw at random, closed to a view's parameters: `on` stands for the probability."""

    def __init__(self, drawn):
        self.drawn = drawn

    def on(self, name):
        return 1.0 if getattr(self.drawn, name) else 0.0

    def pil_blur(self, p):
        assert p > 0 or self.drawn.blur is None
        return lambda picture: (
            picture if self.drawn.blur is None else picture.filter(ImageFilter.GaussianBlur(self.drawn.blur))
        )

    def true_blur(self, p, size):
        sigma = self.drawn.blur
        return T.RandomApply([T.GaussianBlur(23 if size == 224 else 9, (sigma or 1.0,) * 2)], p=1.0 if sigma else 0.0)

    def solarize(self, p):
        assert p > 0 or not self.drawn.solarize
        return lambda picture: ImageOps.solarize(picture) if self.drawn.solarize else picture


def official(name, view, chance, size):
    """The transforms of each release, in its order; every probability is replaced by what was drawn."""
    flip = T.RandomHorizontalFlip(chance.on("flip"))
    grey = T.RandomGrayscale(chance.on("gray"))

    def crop(low, mode):
        return T.RandomResizedCrop(size, scale=(low, 1.0), interpolation=mode)

    def jitter(*strengths):
        return T.RandomApply([T.ColorJitter(*strengths)], p=chance.on("jitter"))

    if name in ("kernel_ssl", "mec"):
        blur, solarize = (1.0, 0.1)[view], (0.0, 0.2)[view]
        return [
            crop(0.2, BILINEAR),
            jitter(0.4, 0.4, 0.2, 0.1),
            grey,
            chance.pil_blur(blur),
            chance.solarize(solarize),
            flip,
        ], IMAGENET
    if name in ("barlow_twins", "vicreg", "byol"):
        blur, solarize = (1.0, 0.1)[view], (0.0, 0.2)[view]
        blurred = chance.true_blur(blur, size) if name == "byol" else chance.pil_blur(blur)
        return [
            crop(0.08, BICUBIC),
            flip,
            jitter(0.4, 0.4, 0.2, 0.1),
            grey,
            blurred,
            chance.solarize(solarize),
        ], IMAGENET
    if name == "moco_v1":
        return [crop(0.2, BILINEAR), grey, T.ColorJitter(0.4, 0.4, 0.4, 0.4), flip], IMAGENET
    if name in ("moco_v2", "simsiam"):
        return [crop(0.2, BILINEAR), jitter(0.4, 0.4, 0.4, 0.1), grey, chance.pil_blur(0.5), flip], IMAGENET
    if name == "simclr":
        steps = [crop(0.08, BICUBIC), flip, jitter(0.8, 0.8, 0.8, 0.2), grey, chance.true_blur(0.5, size)]
        return steps, lambda tensor: tensor
    if name == "swav":
        steps = [crop(0.08, BILINEAR), flip, jitter(0.8, 0.8, 0.8, 0.2), grey, chance.pil_blur(0.5)]
        return steps, T.Normalize([0.485, 0.456, 0.406], [0.228, 0.224, 0.225])
    assert name == "supervised"
    return [crop(0.08, BILINEAR), flip], IMAGENET


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_reference_engine_is_the_releases_pipeline_bit_for_bit(name, monkeypatch):
    seen = set()
    for view, recipe in enumerate(PUBLISHED[name]):
        for i, content in enumerate(photographs(10)):
            size = 224 if i % 5 == 0 else 96
            image = decode(content)
            drawn = draw((8, i, view), *image.shape[:2], recipe)
            seen |= {key for key in ("jitter", "gray", "blur", "solarize", "flip") if getattr(drawn, key)}
            factors = dict(drawn.jitter or ())
            order = [JITTER.index(operation) for operation, _ in drawn.jitter or ()]
            monkeypatch.setattr(T.RandomResizedCrop, "get_params", lambda *a, box=drawn.box: box)
            monkeypatch.setattr(
                T.ColorJitter,
                "get_params",
                lambda *a, o=order, f=factors: (torch.tensor(o), *(f[name] for name in JITTER)),
            )
            steps, normalise = official(name, view, Chance(drawn), size)
            expected = T.Compose(steps)(Image.fromarray(image))
            ours = apply_reference(image, drawn, recipe, size)
            assert np.array_equal(ours, np.asarray(expected))
            network_input = normalised(
                torch.from_numpy(ours.copy())[None], torch.device("cpu"), recipe.mean, recipe.std
            )
            torch.testing.assert_close(network_input[0], normalise(T.ToTensor()(expected)), rtol=0, atol=2e-6)
    wanted = {"kernel_ssl": 5, "mec": 5, "byol": 5, "barlow_twins": 5, "vicreg": 5, "supervised": 1, "moco_v1": 3}
    assert len(seen) == wanted.get(name, 4)  # every operation of the recipe took place in some view


# From the papers and the releases' lines that recipe.py names: smallest crop, brightness, contrast, saturation, hue;
# then the probabilities of jitter, grey, and of each view's blur and solarisation.
NUMBERS = {
    "kernel_ssl": ((0.2, 0.4, 0.4, 0.2, 0.1), 0.8, 0.2, (1.0, 0.1), (0.0, 0.2)),
    "mec": ((0.2, 0.4, 0.4, 0.2, 0.1), 0.8, 0.2, (1.0, 0.1), (0.0, 0.2)),
    "simclr": ((0.08, 0.8, 0.8, 0.8, 0.2), 0.8, 0.2, (0.5, 0.5), (0.0, 0.0)),
    "moco_v1": ((0.2, 0.4, 0.4, 0.4, 0.4), 1.0, 0.2, (0.0, 0.0), (0.0, 0.0)),
    "moco_v2": ((0.2, 0.4, 0.4, 0.4, 0.1), 0.8, 0.2, (0.5, 0.5), (0.0, 0.0)),
    "simsiam": ((0.2, 0.4, 0.4, 0.4, 0.1), 0.8, 0.2, (0.5, 0.5), (0.0, 0.0)),
    "byol": ((0.08, 0.4, 0.4, 0.2, 0.1), 0.8, 0.2, (1.0, 0.1), (0.0, 0.2)),
    "swav": ((0.08, 0.8, 0.8, 0.8, 0.2), 0.8, 0.2, (0.5, 0.5), (0.0, 0.0)),
    "barlow_twins": ((0.08, 0.4, 0.4, 0.2, 0.1), 0.8, 0.2, (1.0, 0.1), (0.0, 0.2)),
    "vicreg": ((0.08, 0.4, 0.4, 0.2, 0.1), 0.8, 0.2, (1.0, 0.1), (0.0, 0.2)),
    "supervised": ((0.08, 0.0, 0.0, 0.0, 0.0), 0.0, 0.0, (0.0,), (0.0,)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_numbers_are_those_of_the_release(name):
    (crop, *strengths), jitter, gray, blur, solarize = NUMBERS[name]
    for view, recipe in enumerate(PUBLISHED[name]):
        assert recipe.crop_scale == (crop, 1.0)
        assert recipe.crop_ratio == (3 / 4, 4 / 3)
        assert [getattr(recipe, operation) for operation in JITTER] == strengths
        assert (recipe.jitter_p, recipe.gray_p, recipe.flip_p) == (jitter, gray, 0.5)
        assert (recipe.blur_p, recipe.solarize_p) == (blur[view], solarize[view])
        assert recipe.blur_sigma == (0.1, 2.0)


def test_moco_v1_turns_grey_before_the_jitter_and_the_others_after_it():
    image = decode(photographs(1)[0])
    recipe = PUBLISHED["moco_v1"][0]
    drawn = dataclasses.replace(draw((0,), *image.shape[:2], recipe), gray=True)
    late = apply_reference(image, drawn, dataclasses.replace(recipe, gray_first=False), 96)
    assert not np.array_equal(apply_reference(image, drawn, recipe, 96), late)


@pytest.mark.parametrize("name", PUBLISHED)
def test_two_views_of_a_method_have_one_normalisation(name):
    assert len({(recipe.mean, recipe.std) for recipe in PUBLISHED[name]}) == 1
    assert len(PUBLISHED[name]) == (1 if name == "supervised" else 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gray_p": 1.2}, "gray_p is 1.2"),
        ({"flip_p": -0.1}, "flip_p is -0.1"),
        ({"brightness": -1.0}, "brightness is -1.0"),
        ({"hue": 0.6}, "hue is 0.6"),
        ({"crop_scale": (0.5, 1.2)}, "no larger than its image"),
        ({"crop_scale": (0.0, 1.0)}, "a range above 0"),
        ({"crop_ratio": (2.0, 1.0)}, "crop_ratio"),
        ({"blur_sigma": (0.0, 1.0)}, "blur_sigma"),
        ({"interpolation": "nearest"}, "bilinear or bicubic"),
        ({"blur_kind": "box"}, "pillow or gaussian"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ViewRecipe(**change)


def test_the_ends_of_every_range_are_allowed():
    ViewRecipe(gray_p=1.0, flip_p=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.5, crop_scale=(1.0, 1.0))
    ViewRecipe(hue=0.0, crop_ratio=(1.0, 1.0), blur_sigma=(0.5, 0.5), jitter_p=0.0, solarize_p=1.0, blur_p=0.0)
