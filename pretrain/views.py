"""The two augmented views of an image: one recipe, one set of sampled numbers, two engines that apply them.

The recipe is that of the released Matrix-SSL code (method.md, "Recipe"): the asymmetric pair of BYOL
(arXiv 2006.07733, appendix B) without its longer crop range. What is random is sampled first, once, from a
generator keyed by (seed, epoch, image index, view); the engines only apply it. So they can be compared pixel by
pixel, and neither the number of workers nor the place in the batch changes a view.

``reference``: Pillow and torchvision's functional transforms, exactly the pipeline of the released code.
``fast``: simplejpeg, torch's antialiased resize and OpenCV; within one or two grey levels of the reference on
average (tests/pretrain/test_views.py states it per operation) and several times faster (tests/bench/bench_views.py).

How a file becomes RGB is the same for both engines and differs from ``torchvision.datasets.ImageFolder`` in three
points: the EXIF orientation is applied (as Detectron2 does when it reads COCO), transparent pixels become white
instead of an arbitrary hidden colour, and 16-bit images are scaled to 8 bits instead of clipped to white.
"""

import functools
import io
import math
import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import simplejpeg
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from benchmark.errors import check_choice

# Every worker process is one thread of work; OpenCV's own pool would only oversubscribe the cores, and a pool
# that was started before a fork hangs in the child.
cv2.setNumThreads(0)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ORIENTATION_TAG = 0x0112
JITTERS = ("brightness", "contrast", "saturation", "hue")


class UnreadableImage(Exception):
    """The bytes are no whole image; the message says why, in a few words."""


@dataclass(frozen=True)
class ViewSettings:
    """The recipe of both views. Pairs named ``..._probability`` are (view 1, view 2).

    Attributes:
        image_size: side of a view in pixels, at least 1.
        engine: ``fast`` or ``reference``.
        crop_scale: range of the crop's share of the image's area, in (0, 1].
        crop_ratio: range of width / height of the crop.
        jitter_probability: of the colour jitter, both views; grayscale_probability and flip_probability alike.
        brightness, contrast, saturation: factors are uniform in [1 - x, 1 + x]; hue: shift uniform in [-x, x] turns.
        blur_sigma: range of the Gaussian's standard deviation in pixels of the view.
        solarize_threshold: grey levels from here up are inverted.
        mean, std: of the normalisation, in [0, 1] RGB.
    """

    image_size: int = 224
    engine: str = "fast"
    crop_scale: tuple[float, float] = (0.2, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter_probability: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grayscale_probability: float = 0.2
    blur_probability: tuple[float, float] = (1.0, 0.1)
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize_probability: tuple[float, float] = (0.0, 0.2)
    solarize_threshold: int = 128
    flip_probability: float = 0.5
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        check_choice("--engine", self.engine, ENGINES)


@dataclass(frozen=True)
class ViewParameters:
    """Everything random about one view.

    Attributes:
        crop: (top, left, height, width) in pixels of the image.
        jitter: (name, factor) in the order of application, empty without jitter; hue's factor is in turns.
        grayscale, solarize, flip: whether it is done.
        blur_sigma: standard deviation in pixels of the view, None without blur.
    """

    crop: tuple[int, int, int, int]
    jitter: tuple[tuple[str, float], ...]
    grayscale: bool
    blur_sigma: float | None
    solarize: bool
    flip: bool


def view_generator(seed: int, epoch: int, index: int, view: int) -> np.random.Generator:
    """Return the generator of one view (0 or 1) of one image in one epoch; all numbers at least 0."""
    return np.random.default_rng((seed, epoch, index, view))


def sample_parameters(
    generator: np.random.Generator, height: int, width: int, settings: ViewSettings, view: int
) -> ViewParameters:
    """Draw what is random about view 0 or 1 of an image of this size.

    Same distributions as torchvision's RandomResizedCrop, ColorJitter, RandomGrayscale, GaussianBlur,
    RandomSolarize and RandomHorizontalFlip.
    """
    crop = _sample_crop(generator, height, width, settings)
    jitter = _sample_jitter(generator, settings) if generator.random() < settings.jitter_probability else ()
    grayscale = generator.random() < settings.grayscale_probability
    blurred = generator.random() < settings.blur_probability[view]
    sigma = float(generator.uniform(*settings.blur_sigma)) if blurred else None
    solarize = generator.random() < settings.solarize_probability[view]
    flip = generator.random() < settings.flip_probability
    return ViewParameters(crop, jitter, grayscale, sigma, solarize, flip)


def _sample_crop(
    generator: np.random.Generator, height: int, width: int, settings: ViewSettings
) -> tuple[int, int, int, int]:
    """RandomResizedCrop.get_params: ten tries for a crop that fits, then the largest centred one."""
    low, high = settings.crop_ratio
    for _ in range(10):
        area = height * width * generator.uniform(*settings.crop_scale)
        ratio = math.exp(generator.uniform(math.log(low), math.log(high)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = generator.integers(height - h + 1), generator.integers(width - w + 1)
            return int(top), int(left), h, w
    w, h = width, height
    if width / height < low:
        h = max(1, round(width / low))
    elif width / height > high:
        w = max(1, round(height * high))
    return (height - h) // 2, (width - w) // 2, h, w


def _sample_jitter(generator: np.random.Generator, settings: ViewSettings) -> tuple[tuple[str, float], ...]:
    """ColorJitter.get_params: the four factors, and the order in which they are applied."""
    factors = {}
    for name in JITTERS:
        strength, centre = getattr(settings, name), 0.0 if name == "hue" else 1.0
        factors[name] = float(generator.uniform(centre - strength, centre + strength))
    return tuple((JITTERS[i], factors[JITTERS[i]]) for i in generator.permutation(len(JITTERS)))


# --- Reading ------------------------------------------------------------------------------------------------------


def decode_pil(data: bytes) -> Image.Image:
    """Read an image file's bytes with Pillow as upright 8-bit RGB.

    Greyscale, palette, CMYK, 16-bit, transparent and animated (first frame) files included.

    Raises:
        UnreadableImage: no image, a truncated one, one too large to be honest, or float pixels of unknown range.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata; what matters raises
            image = Image.open(io.BytesIO(data))
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        raise UnreadableImage(str(error) or type(error).__name__) from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels have no known range")
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise UnreadableImage("integer pixels outside 0 to 65535")
        image = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def decode_array(data: bytes) -> np.ndarray:
    """Read an image file's bytes as (H, W, 3) uint8 RGB, the same pixels as ``decode_pil``, JPEG files faster.

    libjpeg-turbo runs with the accurate DCT and smooth chroma upsampling, as in Pillow. What simplejpeg refuses
    (CMYK, damaged or odd files) and what needs turning goes to Pillow, so both engines read the same files.

    Raises:
        UnreadableImage: see ``decode_pil``.
    """
    if simplejpeg.is_jpeg(data) and b"Exif\0\0" not in data[:65536]:
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
            if colours in ("YCbCr", "Gray") and height * width <= Image.MAX_IMAGE_PIXELS:
                return simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False)
        except ValueError:
            pass
    return np.asarray(decode_pil(data))


# --- Engines ------------------------------------------------------------------------------------------------------


class Engine(Protocol):
    """The operations of the recipe on an engine's own kind of image."""

    def decode(self, data: bytes) -> Any:
        """Read a file's bytes."""

    def size(self, image: Any) -> tuple[int, int]:
        """Return (height, width) in pixels."""

    def crop_resize(self, image: Any, crop: tuple[int, int, int, int], height: int, width: int) -> Any:
        """Cut (top, left, height, width) out and resize it, bilinear with antialiasing."""

    def brightness(self, image: Any, factor: float) -> Any:
        """Blend with black."""

    def contrast(self, image: Any, factor: float) -> Any:
        """Blend with the mean grey."""

    def saturation(self, image: Any, factor: float) -> Any:
        """Blend with the grey image."""

    def hue(self, image: Any, turns: float) -> Any:
        """Turn the hue circle."""

    def grayscale(self, image: Any) -> Any:
        """Make it grey, in three equal channels."""

    def blur(self, image: Any, sigma: float) -> Any:
        """Gaussian blur."""

    def solarize(self, image: Any, threshold: int) -> Any:
        """Invert the levels from the threshold up."""

    def flip(self, image: Any) -> Any:
        """Mirror left and right."""

    def normalise(self, image: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
        """Return (3, H, W) float32, (level / 255 - mean) / std."""


class ReferenceEngine:
    """Pillow with torchvision's functional transforms: what the released pipeline computes."""

    decode = staticmethod(decode_pil)
    brightness = staticmethod(F.adjust_brightness)
    contrast = staticmethod(F.adjust_contrast)
    saturation = staticmethod(F.adjust_saturation)
    hue = staticmethod(F.adjust_hue)
    solarize = staticmethod(ImageOps.solarize)
    flip = staticmethod(F.hflip)

    @staticmethod
    def size(image: Image.Image) -> tuple[int, int]:
        return image.height, image.width

    @staticmethod
    def crop_resize(image: Image.Image, crop: tuple[int, int, int, int], height: int, width: int) -> Image.Image:
        return F.resized_crop(image, *crop, [height, width], InterpolationMode.BILINEAR)

    @staticmethod
    def grayscale(image: Image.Image) -> Image.Image:
        return F.rgb_to_grayscale(image, num_output_channels=3)

    @staticmethod
    def blur(image: Image.Image, sigma: float) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(sigma))

    @staticmethod
    def normalise(image: Image.Image, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
        return F.normalize(F.to_tensor(image), mean, std).numpy()


class FastEngine:
    """The same operations on (H, W, 3) uint8 arrays."""

    decode = staticmethod(decode_array)

    @staticmethod
    def size(image: np.ndarray) -> tuple[int, int]:
        return image.shape[0], image.shape[1]

    @staticmethod
    def crop_resize(image: np.ndarray, crop: tuple[int, int, int, int], height: int, width: int) -> np.ndarray:
        # Of OpenCV's filters only INTER_AREA is antialiased, and it is a box where Pillow's is a triangle; torch's
        # is Pillow's own filter, vectorised.
        top, left, h, w = crop
        pixels = torch.from_numpy(image[top : top + h, left : left + w]).permute(2, 0, 1)[None]
        resized = torch.nn.functional.interpolate(pixels, size=(height, width), mode="bilinear", antialias=True)
        return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())

    @staticmethod
    def brightness(image: np.ndarray, factor: float) -> np.ndarray:
        return cv2.LUT(image, _blend_table(0, factor))

    @staticmethod
    def contrast(image: np.ndarray, factor: float) -> np.ndarray:
        grey = int(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] + 0.5)
        return cv2.LUT(image, _blend_table(grey, factor))

    @staticmethod
    def saturation(image: np.ndarray, factor: float) -> np.ndarray:
        # Pillow cuts the fraction off, OpenCV rounds: hence the half.
        return cv2.addWeighted(image, factor, FastEngine.grayscale(image), 1 - factor, -0.5)

    @staticmethod
    def hue(image: np.ndarray, turns: float) -> np.ndarray:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)  # a full turn is 256 levels and wraps like uint8
        hsv[:, :, 0] += np.uint8(int(turns * 255) % 256)
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)

    @staticmethod
    def grayscale(image: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)

    @staticmethod
    def blur(image: np.ndarray, sigma: float) -> np.ndarray:
        kernel = _blur_kernel(sigma)
        return cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)

    @staticmethod
    def solarize(image: np.ndarray, threshold: int) -> np.ndarray:
        return cv2.LUT(image, _solarize_table(threshold))

    @staticmethod
    def flip(image: np.ndarray) -> np.ndarray:
        return cv2.flip(image, 1)

    @staticmethod
    def normalise(image: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
        tables = _normalise_tables(mean, std)
        return np.stack([cv2.LUT(channel, table) for channel, table in zip(cv2.split(image), tables, strict=True)])


ENGINES: dict[str, Engine] = {"fast": FastEngine(), "reference": ReferenceEngine()}

_levels = np.arange(256, dtype=np.float32)


def _blend_table(grey: int, factor: float) -> np.ndarray:
    """ImageEnhance's blend of every level with one grey: ``grey + factor * (level - grey)``, fraction cut off."""
    return np.clip(grey + np.float32(factor) * (_levels - grey), 0, 255).astype(np.uint8)


@functools.cache
def _solarize_table(threshold: int) -> np.ndarray:
    return np.where(_levels >= threshold, 255 - _levels, _levels).astype(np.uint8)


@functools.cache
def _normalise_tables(mean: tuple[float, ...], std: tuple[float, ...]) -> list[np.ndarray]:
    return [(_levels / 255 - np.float32(m)) / np.float32(s) for m, s in zip(mean, std, strict=True)]


def _blur_kernel(sigma: float) -> np.ndarray:
    """Return the kernel of Pillow's Gaussian: three extended boxes (Gwosdek et al., SSVM 2011, eq. 7, 11 and 14).

    OpenCV filters 8-bit images with weights in 1/256 and only rounds them, so that their sum may miss 1 and change
    the brightness; they are rounded here, with the remainder in the middle.
    """
    variance = sigma * sigma / 3
    radius = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    edge = (2 * radius + 1) * (radius * (radius + 1) - 3 * variance) / (6 * (variance - (radius + 1) ** 2))
    box = np.full(2 * radius + 3, 1.0)
    box[0] = box[-1] = edge
    box /= box.sum()
    kernel = np.rint(np.convolve(np.convolve(box, box), box) * 256)
    kernel[len(kernel) // 2] += 256 - kernel.sum()
    return (kernel / 256).astype(np.float32)


# --- Views --------------------------------------------------------------------------------------------------------


def apply_parameters(engine: Engine, image: Any, parameters: ViewParameters, settings: ViewSettings) -> np.ndarray:
    """Apply one view's sampled numbers to an image of `engine`'s kind; return (3, S, S) float32, normalised."""
    image = engine.crop_resize(image, parameters.crop, settings.image_size, settings.image_size)
    for name, factor in parameters.jitter:
        image = getattr(engine, name)(image, factor)
    if parameters.grayscale:
        image = engine.grayscale(image)
    if parameters.blur_sigma is not None:
        image = engine.blur(image, parameters.blur_sigma)
    if parameters.solarize:
        image = engine.solarize(image, settings.solarize_threshold)
    if parameters.flip:
        image = engine.flip(image)
    return engine.normalise(image, settings.mean, settings.std)


def two_views(
    data: bytes, settings: ViewSettings, *, seed: int, epoch: int, index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Make both views of one image file's bytes.

    Args:
        data: the file's content.
        settings: the recipe.
        seed, epoch, index: key of the random numbers, each at least 0; index is the image's place in the list.

    Returns:
        Two (3, S, S) float32 arrays, normalised RGB.

    Raises:
        UnreadableImage: see ``decode_pil``.
    """
    engine = ENGINES[settings.engine]
    image = engine.decode(data)
    views = []
    for view in (0, 1):
        parameters = sample_parameters(view_generator(seed, epoch, index, view), *engine.size(image), settings, view)
        views.append(apply_parameters(engine, image, parameters, settings))
    return views[0], views[1]


def centre_view(data: bytes, settings: ViewSettings) -> np.ndarray:
    """Make the view that evaluation uses: the shorter side at 8/7 of image_size (256 for 224), its centre, no noise.

    Returns (3, S, S) float32, normalised RGB. Raises ``UnreadableImage``.
    """
    engine, size = ENGINES[settings.engine], settings.image_size
    image = engine.decode(data)
    height, width = engine.size(image)
    # The centre is cut out before resizing: the same pixels but for the rim, without resizing what is thrown away.
    side = max(1, round(min(height, width) * 7 / 8))
    crop = ((height - side) // 2, (width - side) // 2, side, side)
    return engine.normalise(engine.crop_resize(image, crop, size, size), settings.mean, settings.std)
