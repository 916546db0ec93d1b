"""Decoding: every kind of image file is read as RGB, and what is none is refused."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pretrain.images.decoding import MAX_PIXELS, decode
from tests.pretrain.images.pictures import encoded, photographs, smooth


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
    image = smooth().convert(mode)
    found = decode(encoded(image, kind, **({"quality": 95} if kind in ("JPEG", "WEBP") else {})))
    assert found.shape == (30, 40, 3)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - np.asarray(image.convert("RGB"))).mean() <= tolerance
    if mode in ("L", "LA", "1"):
        assert np.ptp(found, axis=2).max() == 0


def test_sixteen_bits_are_scaled_and_not_clipped():
    found = decode(sixteen_bit_png())
    expected = np.linspace(0, 255, 30 * 40).reshape(30, 40)
    assert (found.shape, found.dtype) == ((30, 40, 3), np.uint8)
    assert np.abs(found[..., 0] - expected).max() <= 1
    assert np.array_equal(found[..., 0], found[..., 2])


def test_levels_beyond_sixteen_bits_are_cut_off():
    levels = np.array([[-5000, 0, 257, 65535, 65536 * 9]], dtype=np.int32)
    found = decode(encoded(Image.fromarray(levels), "TIFF"))
    assert found.shape == (1, 5, 3)
    assert found[0, :, 0].tolist() == found[0, :, 1].tolist() == [0, 0, 1, 255, 255]


def test_the_limit_is_pillows():
    assert MAX_PIXELS == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_ignored_as_by_torchvision(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode(encoded(smooth(), kind, exif=exif)).shape == (30, 40, 3)


def pretended_size(kind, side):
    """A file whose header claims a size that would fill the memory."""
    content = encoded(smooth(), kind)
    if kind == "BMP":
        return content[:18] + side.to_bytes(4, "little") * 2 + content[26:]
    start = content.index(b"\xff\xc0") + 5  # of the frame: height and width
    return content[:start] + side.to_bytes(2, "big") * 2 + content[start + 4 :]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image, whatever its name says",
        b"\xff\xd8\xff\xe0",
        photographs(1)[0][:2000],
        photographs(1)[0][:-4000],
        encoded(smooth(), "PNG")[:-60],
        encoded(smooth(), "WEBP")[:100],
    ],
    ids=["empty", "text", "start only", "truncated", "cut at the end", "png", "webp"],
)
def test_what_is_no_whole_image_is_refused_in_a_way_that_the_loader_expects(content):
    with pytest.raises(ValueError, match="no whole image"):
        decode(content)


LIMITED = """
import resource, sys
from pretrain.images.decoding import decode
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(sys.stdin.buffer.read())
except ValueError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(("kind", "side"), [("JPEG", 40_000), ("JPEG", 10_000), ("BMP", 30_000), ("BMP", 10_000)])
def test_a_small_file_that_claims_a_huge_image_is_refused_before_memory_is_taken(kind, side):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED],
        input=pretended_size(kind, side),
        capture_output=True,
        timeout=60,
    )
    sentence, megabytes = done.stdout.decode().splitlines()
    assert f"{side:,} x {side:,} px" in sentence or f"{side * side} pixels" in sentence, done.stderr
    assert int(megabytes) < 50
