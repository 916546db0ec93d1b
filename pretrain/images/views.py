"""The two augmented views of an image, by a reference engine (PIL) and a fast one (OpenCV) from the same parameters.

Recipe (method.md, from the released code): RandomResizedCrop(scale 0.2-1), ColorJitter(.4, .4, .2, .1) with p .8,
grayscale p .2, Gaussian blur sigma .1-2 (p 1 in view 1, .1 in view 2), solarize (p .2, view 2 only), flip.
Parameters are drawn first, from a generator keyed by (seed, epoch, image, view), so engines, workers and resuming
change nothing. EXIF orientation is ignored, as torchvision's loader does.
"""

import io
import math
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import functional as F

ENGINES = ("fast", "reference")
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
CROP_RATIO = (3 / 4, 4 / 3)
JITTER_P, BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.8, 0.4, 0.4, 0.2, 0.1
GRAYSCALE_P = 0.2
BLUR_SIGMA = (0.1, 2.0)
BLUR_P = (1.0, 0.1)  # of view 1 and view 2
SOLARIZE_P = (0.0, 0.2)
SOLARIZE_THRESHOLD = 128


@dataclass(frozen=True)
class ViewSettings:
    """`image_size`: side of a view in px. `crop_scale`: range of the crop's share of the area. `engine`: see above."""

    image_size: int = 224
    crop_scale: tuple[float, float] = (0.2, 1.0)
    engine: str = "fast"


@dataclass(frozen=True)
class ViewParameters:
    """What happens to one image in one view; None where a step does not.

    box: top, left, height, width of the crop, px. jitter: pairs (operation, factor) in order of application; a hue
    factor is a share of the colour circle in [-0.5, 0.5]. blur: sigma in px of the view.
    """

    box: tuple[int, int, int, int]
    jitter: tuple[tuple[str, float], ...] | None
    grayscale: bool
    blur: float | None
    solarize: bool
    flip: bool


def decode(content: bytes) -> np.ndarray:
    """Decode an image file to (h, w, 3) uint8 RGB. Raises ``ValueError`` for what is no whole image."""
    if content[:2] == b"\xff\xd8":
        try:
            return simplejpeg.decode_jpeg(content, colorspace="RGB", strict=True)
        except ValueError:
            pass  # CMYK, or damaged: Pillow decides, and says what is wrong
    try:
        return _decode_by_pillow(content)
    except Exception as error:  # each of Pillow's formats raises its own kinds, and a bomb is of yet another kind
        raise ValueError(f"no whole image ({type(error).__name__}: {error})") from error


def _decode_by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip at 255
            array = np.asarray(image).astype(np.int64) // 257
            return np.repeat(array.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
        return np.asarray(image.convert("RGB"))


def draw(rng: np.random.Generator, height: int, width: int, view: int, settings: ViewSettings) -> ViewParameters:
    """Draw the parameters of view 0 or 1 for an image of that size; distributions as torchvision's transforms."""
    jitter = None
    box = _draw_box(rng, height, width, settings.crop_scale)
    if rng.random() < JITTER_P:
        factors = {
            "brightness": rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS),
            "contrast": rng.uniform(1 - CONTRAST, 1 + CONTRAST),
            "saturation": rng.uniform(1 - SATURATION, 1 + SATURATION),
            "hue": rng.uniform(-HUE, HUE),
        }
        names = list(factors)
        jitter = tuple((names[k], float(factors[names[k]])) for k in rng.permutation(4))
    grayscale = rng.random() < GRAYSCALE_P
    blur = float(rng.uniform(*BLUR_SIGMA)) if rng.random() < BLUR_P[view] else None
    solarize = rng.random() < SOLARIZE_P[view]
    return ViewParameters(box, jitter, bool(grayscale), blur, bool(solarize), bool(rng.random() < 0.5))


def _draw_box(
    rng: np.random.Generator, height: int, width: int, scale: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Draw torchvision's RandomResizedCrop box: ten tries, then the largest central crop of an allowed ratio."""
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    ratio = min(max(width / height, CROP_RATIO[0]), CROP_RATIO[1])
    w = max(1, min(width, round(height * ratio)))
    h = max(1, min(height, round(width / ratio)))
    return (height - h) // 2, (width - w) // 2, h, w


def apply(image: np.ndarray, parameters: ViewParameters, settings: ViewSettings) -> np.ndarray:
    """Return the view, (S, S, 3) uint8, of an (h, w, 3) uint8 RGB image by the engine that the settings name."""
    return (apply_fast if settings.engine == "fast" else apply_reference)(image, parameters, settings.image_size)


def apply_reference(image: np.ndarray, p: ViewParameters, size: int) -> np.ndarray:
    """The pipeline as the released code runs it: torchvision on PIL images, bilinear."""
    view = F.resized_crop(Image.fromarray(image), *p.box, [size, size])
    adjust = {
        "brightness": F.adjust_brightness,
        "contrast": F.adjust_contrast,
        "saturation": F.adjust_saturation,
        "hue": F.adjust_hue,
    }
    for operation, factor in p.jitter or ():
        view = adjust[operation](view, factor)
    if p.grayscale:
        view = F.rgb_to_grayscale(view, num_output_channels=3)
    if p.blur is not None:
        view = view.filter(ImageFilter.GaussianBlur(radius=p.blur))
    if p.solarize:
        view = ImageOps.solarize(view, SOLARIZE_THRESHOLD)
    return np.asarray(F.hflip(view) if p.flip else view)


def apply_fast(image: np.ndarray, p: ViewParameters, size: int) -> np.ndarray:
    """The same steps with OpenCV and look-up tables; close to the reference (tests say how close), not equal."""
    top, left, height, width = p.box
    view = image[top : top + height, left : left + width]
    shrinks = height > size or width > size
    # Pillow widens its filter when shrinking; averaging over the area is OpenCV's counterpart.
    view = cv2.resize(view, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    for operation, factor in p.jitter or ():
        view = _ADJUST[operation](view, factor)
    if p.grayscale:
        view = cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if p.blur is not None:
        view = cv2.GaussianBlur(view, (0, 0), p.blur, borderType=cv2.BORDER_REPLICATE)
    if p.solarize:
        view = cv2.LUT(view, _SOLARIZE)
    return cv2.flip(view, 1) if p.flip else view


_LEVELS = np.arange(256, dtype=np.float32)
_SOLARIZE = np.where(_LEVELS < SOLARIZE_THRESHOLD, _LEVELS, 255 - _LEVELS).astype(np.uint8)


def _blend_table(factor: float, other: float) -> np.ndarray:
    """Return the table of ``factor * x + (1 - factor) * other``, clipped as Pillow's blend does."""
    return np.clip(_LEVELS * factor + (1 - factor) * other, 0, 255).astype(np.uint8)


def _brightness(view: np.ndarray, factor: float) -> np.ndarray:
    return cv2.LUT(view, _blend_table(factor, 0.0))


def _contrast(view: np.ndarray, factor: float) -> np.ndarray:
    mean = int(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY).mean() + 0.5)
    return cv2.LUT(view, _blend_table(factor, mean))


def _saturation(view: np.ndarray, factor: float) -> np.ndarray:
    gray = cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(view, factor, gray, 1 - factor, 0)


def _hue(view: np.ndarray, factor: float) -> np.ndarray:
    hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(int(factor * 255) % 256)  # wraps round the colour circle
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


_ADJUST = {"brightness": _brightness, "contrast": _contrast, "saturation": _saturation, "hue": _hue}


def two_views(content: bytes, key: tuple[int, int, int], settings: ViewSettings) -> tuple[np.ndarray, np.ndarray]:
    """Decode an image file once and return its two views; `key` is (seed, epoch, image index)."""
    image = decode(content)
    height, width = image.shape[:2]
    views = []
    for view in (0, 1):
        rng = np.random.default_rng(np.random.SeedSequence((*key, view)))
        views.append(apply(image, draw(rng, height, width, view, settings), settings))
    return views[0], views[1]
