"""Views: both engines agree, parameters follow the distributions of torchvision, every kind of image is read."""

import dataclasses
import io
import math

import numpy as np
import pytest
import scipy.stats
import torch
import torchvision.transforms as T
from PIL import Image, ImageFilter
from torchvision.transforms import functional as F

from benchmark.core.folder import ROOT
from pretrain.images.views import ENGINES, ViewParameters, ViewSettings, apply, decode, draw, two_views

BACKGROUNDS = ROOT / "benchmark" / "embedded" / "pack" / "backgrounds"
PLAIN = ViewParameters(box=(0, 0, 1, 1), jitter=None, grayscale=False, blur=None, solarize=False, flip=False)


def photographs(count=8):
    return [path.read_bytes() for path in sorted(BACKGROUNDS.glob("*.jpg"))[:count]]


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height=30, width=40, seed=0):
    """A smooth picture, which JPEG and WebP keep nearly as it is."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


# --- The engines agree --------------------------------------------------------------------------------------------

# Of every operation alone, over 8 photographs: greatest mean difference, and 99th percentile, in grey levels of 255.
TOLERANCES = [
    # OpenCV averages over a pixel's area, Pillow with a triangle of twice its width: sharper against smoother.
    pytest.param({"box": (10, 20, 290, 280)}, 3.5, 16, id="shrink"),
    pytest.param({"box": (100, 120, 60, 45)}, 0.3, 1, id="enlarge"),
    pytest.param({"box": (10, 20, 60, 280)}, 7.5, 36, id="one side each"),  # a ratio that no crop has
    pytest.param({"jitter": (("brightness", 0.6),)}, 0.1, 1, id="darker"),
    pytest.param({"jitter": (("brightness", 1.4),)}, 0.1, 1, id="brighter"),
    pytest.param({"jitter": (("contrast", 0.6),)}, 0.1, 1, id="flatter"),
    pytest.param({"jitter": (("contrast", 1.4),)}, 0.15, 1, id="steeper"),
    pytest.param({"jitter": (("saturation", 0.8),)}, 0.6, 1, id="paler"),
    pytest.param({"jitter": (("saturation", 1.2),)}, 0.6, 1, id="more colourful"),
    pytest.param({"jitter": (("hue", 0.1),)}, 1.0, 8, id="hue forth"),
    pytest.param({"jitter": (("hue", -0.1),)}, 1.0, 8, id="hue back"),
    pytest.param({"grayscale": True}, 0.1, 1, id="grey"),
    pytest.param({"blur": 0.1}, 0.2, 1, id="blur 0.1"),
    pytest.param({"blur": 0.3}, 1.0, 7, id="blur 0.3"),
    pytest.param({"blur": 0.7}, 1.0, 4, id="blur 0.7"),
    pytest.param({"blur": 2.0}, 1.0, 14, id="blur 2"),  # Pillow repeats its rim's pixels in each of three passes
    pytest.param({"solarize": True}, 0.0, 0, id="solarize"),
    pytest.param({"flip": True}, 0.0, 0, id="flip"),
]


@pytest.mark.parametrize(("change", "mean", "percentile"), TOLERANCES)
def test_every_operation_agrees_between_the_engines(change, mean, percentile):
    for content in photographs():
        image = decode(content)
        if "box" in change:
            pair = [apply(image, dataclasses.replace(PLAIN, **change), ViewSettings(112, engine=e)) for e in ENGINES]
        else:  # a crop that is not resized, so that only the operation differs
            parameters = dataclasses.replace(PLAIN, box=(30, 40, 224, 224), **change)
            pair = [apply(image, parameters, ViewSettings(224, engine=e)) for e in ENGINES]
            changed = apply(image, dataclasses.replace(parameters, **dict.fromkeys(change, None)), ViewSettings(224))
            assert not np.array_equal(pair[0], changed) or change.get("blur") == 0.1
        difference = np.abs(pair[0].astype(int) - pair[1])
        assert difference.mean() <= mean
        assert np.percentile(difference, 99) <= percentile


@pytest.mark.parametrize(("size", "mean"), [(32, 2.5), (96, 1.8), (224, 1.1)])
def test_whole_views_agree_between_the_engines(size, mean):
    differences = []
    for i, content in enumerate(photographs(16)):
        fast, reference = (two_views(content, (0, 0, i), ViewSettings(size, engine=e)) for e in ENGINES)
        differences += [np.abs(a.astype(int) - b).mean() for a, b in zip(fast, reference, strict=True)]
        assert fast[0].shape == (size, size, 3)
        assert fast[0].dtype == reference[0].dtype == np.uint8
    assert np.mean(differences) < mean
    assert max(differences) < 7  # after a contrast of 1.4 and solarizing; another crop or hue differs by 20 and more


def test_the_reference_is_torchvisions_pipeline():
    """Its transforms with their random ranges closed to a point, in the recipe's order."""
    image = decode(photographs(1)[0])
    top, left, height, width = 20, 30, 200, 250
    parameters = ViewParameters(
        box=(top, left, height, width),
        jitter=(("hue", 0.05), ("brightness", 1.2), ("saturation", 0.9), ("contrast", 0.7)),
        grayscale=False,
        blur=1.1,
        solarize=True,
        flip=True,
    )
    resize = T.Resize((96, 96))
    pipeline = T.Compose(
        [
            lambda picture: resize(F.crop(picture, top, left, height, width)),
            T.ColorJitter(hue=(0.05, 0.05)),
            T.ColorJitter(brightness=(1.2, 1.2)),
            T.ColorJitter(saturation=(0.9, 0.9)),
            T.ColorJitter(contrast=(0.7, 0.7)),
            lambda picture: picture.filter(ImageFilter.GaussianBlur(radius=1.1)),
            T.RandomSolarize(128, p=1.0),
            T.RandomHorizontalFlip(p=1.0),
        ]
    )
    ours = apply(image, parameters, ViewSettings(96, engine="reference"))
    assert np.array_equal(ours, np.asarray(pipeline(Image.fromarray(image))))


# --- The parameters -----------------------------------------------------------------------------------------------


def draws(n, view, height=240, width=320, settings=None):
    settings = settings or ViewSettings()
    return [draw(np.random.default_rng((1, i)), height, width, view, settings) for i in range(n)]


def same_distribution(a, b):
    return scipy.stats.ks_2samp(a, b).pvalue > 1e-3


@pytest.mark.parametrize(("height", "width"), [(240, 320), (500, 120)])
def test_crops_are_distributed_as_random_resized_crop(height, width):
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = np.array([T.RandomResizedCrop.get_params(image, (0.2, 1.0), (3 / 4, 4 / 3)) for _ in range(3000)])
    ours = np.array([p.box for p in draws(3000, 0, height, width)])
    for column in range(4):
        assert same_distribution(ours[:, column], theirs[:, column])
    for box in (ours, theirs):
        assert (box[:, 0] + box[:, 2] <= height).all()
        assert (box[:, 1] + box[:, 3] <= width).all()
    areas = ours[:, 2] * ours[:, 3] / (height * width)
    assert areas.min() > 0.18
    ratios = ours[:, 3] / ours[:, 2]
    assert ratios.min() > 0.73
    assert ratios.max() < 1.37


def test_jitter_is_distributed_as_color_jitter():
    torch.manual_seed(0)
    names = ("brightness", "contrast", "saturation", "hue")
    ranges = ((0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1))
    theirs = [T.ColorJitter.get_params(*ranges) for _ in range(3000)]
    ours = [dict(p.jitter) for p in draws(4000, 0) if p.jitter]
    for i, name in enumerate(names):
        assert same_distribution([jitter[name] for jitter in ours], [jitter[1 + i] for jitter in theirs])
    orders = [tuple(name for name, _ in p.jitter) for p in draws(4000, 0) if p.jitter]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == math.factorial(4)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (0, {"jitter": 0.8, "grayscale": 0.2, "blur": 1.0, "solarize": 0.0, "flip": 0.5}),
        (1, {"jitter": 0.8, "grayscale": 0.2, "blur": 0.1, "solarize": 0.2, "flip": 0.5}),
    ],
)
def test_every_operation_has_the_probability_of_the_recipe(view, expected):
    n = 5000
    found = draws(n, view)
    happened = {name: np.array([bool(getattr(p, name)) for p in found]) for name in expected}
    for name, probability in expected.items():
        assert abs(happened[name].mean() - probability) <= 4 * math.sqrt(probability * (1 - probability) / n)
    for a, b in (("jitter", "grayscale"), ("grayscale", "flip"), ("solarize", "blur"), ("jitter", "flip")):
        both, separate = (happened[a] & happened[b]).mean(), happened[a].mean() * happened[b].mean()
        assert abs(both - separate) < 0.025  # independent of each other
    sigmas = [p.blur for p in found if p.blur is not None]
    assert scipy.stats.kstest(sigmas, scipy.stats.uniform(0.1, 1.9).cdf).pvalue > 1e-3


def test_the_key_alone_decides_a_view():
    content, settings = photographs(1)[0], ViewSettings(48)
    first = two_views(content, (3, 5, 7), settings)
    assert all(np.array_equal(a, b) for a, b in zip(first, two_views(content, (3, 5, 7), settings), strict=True))
    assert not np.array_equal(first[0], first[1])
    for key in ((4, 5, 7), (3, 6, 7), (3, 5, 8), (5, 3, 7)):
        other = two_views(content, key, settings)
        assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_crop_scale_is_used():
    areas = [p.box[2] * p.box[3] / (240 * 320) for p in draws(300, 0, settings=ViewSettings(crop_scale=(0.5, 0.6)))]
    assert 0.48 < min(areas) < max(areas) < 0.62


# --- Every kind of image ------------------------------------------------------------------------------------------


def sixteen_bit_png():
    levels = np.linspace(0, 65535, 30 * 40).reshape(30, 40).astype(np.uint16)
    return encoded(Image.fromarray(levels), "PNG")


@pytest.mark.parametrize("content", photographs(3))
@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}])
def test_jpeg_pixels_are_pillows(content, options):
    again = encoded(Image.open(io.BytesIO(content)), "JPEG", quality=80, **options)
    assert np.array_equal(decode(again), np.asarray(Image.open(io.BytesIO(again))))


@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [
        ("JPEG", "RGB", 4),
        ("PNG", "RGB", 0),
        ("WEBP", "RGB", 6),
        ("BMP", "RGB", 0),
        ("TIFF", "RGB", 0),
        ("PPM", "RGB", 0),
        ("JPEG", "L", 2),
        ("PNG", "L", 0),
        ("PNG", "LA", 0),
        ("PNG", "P", 0),
        ("PNG", "1", 0),
        ("PNG", "RGBA", 0),
        ("WEBP", "RGBA", 6),
        ("JPEG", "CMYK", 6),
        ("TIFF", "CMYK", 2),
    ],
)
def test_every_kind_of_file_is_read_as_rgb(kind, mode, tolerance):
    image = noise().convert(mode)
    found = decode(encoded(image, kind, **({"quality": 95} if kind in ("JPEG", "WEBP") else {})))
    assert found.shape == (30, 40, 3)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - np.asarray(image.convert("RGB"))).mean() <= tolerance
    if mode in ("L", "LA", "1"):
        assert np.ptp(found, axis=2).max() == 0


def test_sixteen_bits_are_scaled_and_not_clipped():
    found = decode(sixteen_bit_png())
    expected = np.linspace(0, 255, 30 * 40).reshape(30, 40)
    assert np.abs(found[..., 0] - expected).max() <= 1
    assert np.array_equal(found[..., 0], found[..., 2])


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_ignored_as_by_torchvision(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode(encoded(noise(), kind, exif=exif)).shape == (30, 40, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (30, 1), (2, 3), (3, 700)])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_tiny_and_narrow_images(size, engine, kind):
    content = encoded(noise(*size), kind)
    for i in range(20):
        for view in two_views(content, (0, 0, i), ViewSettings(16, engine=engine)):
            assert view.shape == (16, 16, 3)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_plain_image_stays_plain(engine):
    """No operation of the recipe brings structure into one colour: borders, rounding and filters show here."""
    content = encoded(Image.new("RGB", (60, 50), (200, 120, 40)), "PNG")
    for i in range(40):
        for view in two_views(content, (0, 0, i), ViewSettings(32, engine=engine)):
            assert np.ptp(view.reshape(-1, 3), axis=0).max() <= 1


def pretended_size(side):
    """A bitmap whose header claims a size that would fill the memory."""
    content = encoded(noise(), "BMP")
    return content[:18] + side.to_bytes(4, "little") * 2 + content[26:]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image, whatever its name says",
        b"\xff\xd8\xff\xe0",
        photographs(1)[0][:2000],
        photographs(1)[0][:-4000],
        encoded(noise(), "PNG")[:-60],
        encoded(noise(), "WEBP")[:100],
        pretended_size(30_000),
    ],
    ids=["empty", "text", "start only", "truncated", "cut at the end", "png", "webp", "pretended size"],
)
def test_what_is_no_whole_image_is_refused_in_a_way_that_the_loader_expects(content):
    for engine in ENGINES:
        with pytest.raises(ValueError, match="no whole image"):
            two_views(content, (0, 0, 0), ViewSettings(16, engine=engine))
