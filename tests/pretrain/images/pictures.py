"""Image files for tests: the embedded photographs, and smooth pictures in any format."""

import io

import numpy as np
from PIL import Image

from benchmark.core.folder import ROOT

BACKGROUNDS = ROOT / "benchmark" / "embedded" / "pack" / "backgrounds"


def photographs(count=8):
    """Return the contents of some embedded photographs (JPEG, 480 x 320 px or so)."""
    return [path.read_bytes() for path in sorted(BACKGROUNDS.glob("*.jpg"))[:count]]


def encoded(image, kind, **options):
    """Return the content of a file of that kind."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def smooth(height=30, width=40, seed=0):
    """Return a smooth picture, which JPEG and WebP keep nearly as it is."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(seed, size=(24, 20)):
    """Return a small JPEG whose colours depend on `seed`."""
    small = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return encoded(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC), "JPEG", quality=95)
