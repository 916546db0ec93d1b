"""The sample: which images, which pixels, which rows belong together; what cannot be read is left out."""

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from PIL import Image

from benchmark.core.errors import RunFailed
from pretrain.diagnostics.sample import centre_crop, extract, make_sample
from pretrain.images.decoding import decode
from pretrain.images.fast import apply_fast
from pretrain.images.listing import list_images
from pretrain.images.parameters import draw
from pretrain.images.recipe import PUBLISHED
from tests.pretrain.images.pictures import photographs, smooth


@pytest.fixture
def folder(tmp_path):
    for i in range(9):
        path = tmp_path / "data" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        smooth(40, 50, seed=i).save(path)
    return tmp_path / "data"


def pixels(batch):
    """A network that shows what it was given."""
    return {"pixels": batch.flatten(1).float(), "mean": batch.float().mean((1, 2))}


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_rows_are_the_centre_crop_and_the_views_of_each_image(folder, batch):
    sample = make_sample(list_images(folder), 5, 24, views=3, seed=4)
    found = extract(sample, pixels, batch, show=False)
    assert len(sample.paths) == 5
    assert found.unreadable == []
    layer = found.layers["pixels"]
    assert layer.plain.shape == (5, 24 * 24 * 3)
    assert layer.views.shape == (5, 3, 24 * 24 * 3)
    assert found.layers["mean"].views.shape == (5, 3, 3)
    recipe = PUBLISHED["moco_v2"][0]
    for i in range(5):
        image = decode(open(sample.paths[i], "rb").read())  # noqa: SIM115
        assert np.array_equal(layer.plain[i].numpy().reshape(24, 24, 3), centre_crop(image, 24))
        for k in range(3):
            expected = apply_fast(image, draw((4, i, k), 40, 50, recipe), recipe, 24)
            assert np.array_equal(layer.views[i, k].numpy().reshape(24, 24, 3), expected)
    names = [sample.paths.name(i)[0] for i in range(5)]
    assert ["ab"[label] for label in layer.labels] == names


def test_the_centre_crop_is_torchvisions():
    image = decode(photographs(1)[0])
    expected = T.Compose([T.Resize(256), T.CenterCrop(224)])(Image.fromarray(image))
    assert np.array_equal(centre_crop(image, 224), np.asarray(expected))


def test_images_in_no_class_folders_have_no_labels_and_no_views_is_possible(folder):
    sample = make_sample(list_images(folder / "a"), 100, 16, views=0, seed=0)
    layer = extract(sample, pixels, show=False).layers["pixels"]
    assert layer.labels is None
    assert layer.views is None
    assert len(layer.plain) == 5


def test_unreadable_images_are_left_out_with_their_labels(folder):
    (folder / "a" / "2.png").write_bytes(b"nothing")
    (folder / "a" / "4.png").write_bytes(b"")
    found = extract(make_sample(list_images(folder), 9, 16, 2, 0), pixels, show=False)
    assert sorted(found.unreadable) == [str(folder / "a" / "2.png"), str(folder / "a" / "4.png")]
    assert found.layers["pixels"].labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    for path in list((folder / "b").iterdir()) + list((folder / "a").iterdir())[:4]:
        path.write_bytes(b"")
    with pytest.raises(RunFailed, match="images can be read; diagnostics need two"):
        extract(make_sample(list_images(folder), 9, 16, 2, 0), pixels, show=False)


def test_features_that_are_not_finite_fail(folder):
    with pytest.raises(RunFailed, match="not finite"):
        extract(make_sample(list_images(folder), 9, 16, 0, 0), lambda x: {"a": torch.full((len(x), 2), float("nan"))})
