"""Image files of any kind as RGB arrays; what is no whole image, or too large for memory, is refused."""

import io

import numpy as np
import simplejpeg
from PIL import Image

MAX_PIXELS = 89_478_485  # Pillow's limit for what is no attack; below 1 GB of memory in every format


def decode(content: bytes) -> np.ndarray:
    """Decode an image file to (h, w, 3) uint8 RGB; EXIF orientation is ignored, as torchvision's loader does.

    Raises ``ValueError`` for what is no whole image, and for a file that claims more than 89 million pixels.
    """
    if content[:2] == b"\xff\xd8":
        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(content, strict=True)
            _refuse_too_large(height, width)
            return simplejpeg.decode_jpeg(content, colorspace="RGB", strict=True)
        except ImageTooLarge:
            raise
        except ValueError:
            pass  # CMYK, or damaged: Pillow decides, and says what is wrong
    try:
        return _decode_by_pillow(content)
    except ImageTooLarge:
        raise
    except Exception as error:  # each of Pillow's formats raises its own kinds, and a bomb is of yet another kind
        raise ValueError(f"no whole image ({type(error).__name__}: {error})") from error


class ImageTooLarge(ValueError):
    """The file claims more pixels than ``MAX_PIXELS``."""


def _refuse_too_large(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ImageTooLarge(f"no image that fits into memory: it claims {width:,} x {height:,} px")


def _decode_by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        _refuse_too_large(image.height, image.width)
        if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip at 255
            array = np.array(image)
            np.clip(array // 257, 0, 255, out=array)
            return np.repeat(array.astype(np.uint8)[..., None], 3, axis=2)
        return np.array(image.convert("RGB"))  # writable, as torch wants it
