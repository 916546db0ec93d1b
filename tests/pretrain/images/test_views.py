"""Views of an image file: decoded once, made by the engine and the recipes of the settings."""

import numpy as np
import pytest

from pretrain.images.decoding import decode
from pretrain.images.fast import apply_fast
from pretrain.images.parameters import draw
from pretrain.images.recipe import PUBLISHED, ViewSettings
from pretrain.images.reference import apply_reference
from pretrain.images.views import make_views
from tests.pretrain.images.pictures import photographs


@pytest.mark.parametrize(("engine", "apply"), [("fast", apply_fast), ("reference", apply_reference)])
@pytest.mark.parametrize("name", ["kernel_ssl", "swav", "supervised"])
def test_the_settings_decide_engine_size_and_recipes(engine, apply, name):
    content = photographs(1)[0]
    image = decode(content)
    views = make_views(content, (3, 5, 7), ViewSettings(224, engine, PUBLISHED[name]))
    assert len(views) == len(PUBLISHED[name])
    for number, (view, recipe) in enumerate(zip(views, PUBLISHED[name], strict=True)):
        drawn = draw((3, 5, 7, number), *image.shape[:2], recipe)
        assert np.array_equal(view, apply(image, drawn, recipe, 224))


def test_the_views_of_an_image_differ_from_each_other():
    for name in ("kernel_ssl", "moco_v2"):
        first, second = make_views(photographs(1)[0], (0, 0, 0), ViewSettings(48, recipes=PUBLISHED[name]))
        assert not np.array_equal(first, second)


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_what_is_no_image_is_refused_by_both_engines(engine):
    with pytest.raises(ValueError, match="no whole image"):
        make_views(photographs(1)[0][:2000], (0, 0, 0), ViewSettings(16, engine))
