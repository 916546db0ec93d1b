"""The batched engine against the reference engine, within the fast engine's tolerances; alone and in a batch."""

import dataclasses

import numpy as np
import pytest
import torch

from pretrain.images.batched import apply_batched
from pretrain.images.decoding import decode
from pretrain.images.parameters import ViewParameters, draw
from pretrain.images.recipe import PUBLISHED, ViewRecipe
from pretrain.images.reference import apply_reference
from tests.pretrain.images.pictures import photographs
from tests.pretrain.images.test_engines import PLAIN, TOLERANCES


def planes(image):
    return torch.from_numpy(image).permute(2, 0, 1)


def alone(image, drawn, recipe, size):
    """Return the view of one image as the other engines do."""
    return apply_batched([planes(image)], [drawn], recipe, size)[0].numpy()


@pytest.mark.parametrize(("change", "recipe", "size", "mean", "bias", "percentile"), TOLERANCES)
def test_every_operation_agrees_with_the_reference(change, recipe, size, mean, bias, percentile):
    for content in photographs(4):
        image, drawn = decode(content), dataclasses.replace(PLAIN, **change)
        difference = alone(image, drawn, recipe, size).astype(int) - apply_reference(image, drawn, recipe, size)
        assert np.abs(difference).mean() <= mean
        assert abs(difference.mean()) <= bias
        assert np.percentile(np.abs(difference), 99) <= percentile


NOISE = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)  # 16,384 colours, no structure
EXACT = [
    {"gray": True},
    {"solarize": True},
    {"flip": True},
    *({"jitter": ((kind, by),)} for kind in ("brightness", "contrast", "saturation") for by in (0.2, 0.6, 1.4, 1.8)),
]


def on_noise(**change):
    """Return what this engine and Pillow make of the noise by one operation, nothing being resized."""
    recipe = ViewRecipe(blur_kind="gaussian")
    drawn = dataclasses.replace(ViewParameters((0, 0, 128, 128)), **change)
    return alone(NOISE, drawn, recipe, 128).astype(int), apply_reference(NOISE, drawn, recipe, 128).astype(int)


@pytest.mark.parametrize("change", EXACT, ids=str)
def test_whole_number_arithmetic_is_pillows_bit_for_bit(change):
    ours, pillows = on_noise(**change)
    assert np.array_equal(ours, pillows)


@pytest.mark.parametrize("shift", [-0.5, -0.31, -0.004, 0.0, 0.003, 0.05, 0.2, 0.5])
def test_hues_are_pillows_but_for_roundings_of_its_float32(shift):
    ours, pillows = on_noise(jitter=(("hue", shift),))
    assert (ours != pillows).mean() < 0.002
    assert np.abs(ours - pillows).max() <= 5  # one step of 255 along the hue


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.7, 1.3, 2.0])
def test_a_true_gaussian_is_the_references_but_for_the_last_bit(sigma):
    ours, reference = on_noise(blur=sigma)
    assert (ours != reference).mean() < 0.001
    assert np.abs(ours - reference).max() <= 1


@pytest.mark.parametrize("size", [32, 96, 224])
@pytest.mark.parametrize("name", ["kernel_ssl", "moco_v1", "byol", "simclr", "supervised"])
def test_whole_views_of_a_batch_agree_with_the_reference(name, size):
    images = [decode(content) for content in photographs(8)]
    differences = []
    for view, recipe in enumerate(PUBLISHED[name]):
        drawn = [draw((0, i, view), *image.shape[:2], recipe) for i, image in enumerate(images)]
        batch = apply_batched([planes(image) for image in images], drawn, recipe, size)
        assert (batch.shape, batch.dtype) == ((8, size, size, 3), torch.uint8)
        for made, image, d in zip(batch.numpy(), images, drawn, strict=True):
            differences.append(np.abs(made.astype(int) - apply_reference(image, d, recipe, size)).mean())
    assert np.mean(differences) < 0.4
    assert max(differences) < 1.5  # another crop or hue differs by 20 and more


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_other_images_of_a_batch_change_nothing(name):
    recipe = PUBLISHED[name][-1]
    images = [decode(content) for content in photographs(6)]
    drawn = [draw((1, i, 0), *image.shape[:2], recipe) for i, image in enumerate(images)]
    batch = apply_batched([planes(image) for image in images], drawn, recipe, 32).numpy()
    for i, image in enumerate(images):
        assert np.array_equal(batch[i], alone(image, drawn[i], recipe, 32))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (30, 1), (2, 3), (3, 700)])
@pytest.mark.parametrize("name", ["kernel_ssl", "simclr"])
def test_tiny_and_narrow_images(size, name):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    recipe = PUBLISHED[name][0]
    drawn = [draw((i,), *size, recipe) for i in range(20)]
    assert apply_batched([planes(image)] * 20, drawn, recipe, 16).shape == (20, 16, 16, 3)
