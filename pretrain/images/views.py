"""From an image file to its views: decode once, draw the parameters of each view, apply them."""

import numpy as np

from pretrain.images.decoding import decode
from pretrain.images.fast import apply_fast
from pretrain.images.parameters import ViewParameters, draw
from pretrain.images.recipe import ViewRecipe, ViewSettings
from pretrain.images.reference import apply_reference


def apply(image: np.ndarray, drawn: ViewParameters, recipe: ViewRecipe, settings: ViewSettings) -> np.ndarray:
    """Return the view, (S, S, 3) uint8, of an (h, w, 3) uint8 RGB image by the engine that the settings name."""
    engine = apply_fast if settings.engine == "fast" else apply_reference
    return engine(image, drawn, recipe, settings.image_size)


def make_views(content: bytes, key: tuple[int, int, int], settings: ViewSettings) -> tuple[np.ndarray, ...]:
    """Decode an image file once and return its views, (S, S, 3) uint8 each; `key` is (seed, epoch, image index).

    Raises ``ValueError`` for what is no whole image.
    """
    image = decode(content)
    height, width = image.shape[:2]
    drawn = [draw((*key, number), height, width, recipe) for number, recipe in enumerate(settings.recipes)]
    return tuple(apply(image, d, recipe, settings) for d, recipe in zip(drawn, settings.recipes, strict=True))
