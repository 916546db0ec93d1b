"""Images as they are packed: read, decoded once to see that they are whole, and resized where that is wanted."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from pretrain.engine.workers import start_worker
from pretrain.images.collection import Images, SourceLost
from pretrain.images.decoding import decode
from pretrain.packing.settings import Packing

# How each kind of file is written again. What is not named here (GIF, whose colours would change) is never resized.
WRITERS = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WEBP", "BMP": "BMP", "TIFF": "TIFF", "PPM": "PPM"}


@dataclass(frozen=True)
class Prepared:
    """An image of the list by its ``number``, and its ``content`` as it is packed; None where it cannot be read.

    ``why`` says what is wrong with it.  ``lost`` says that its source is gone, which is no fault of the image.
    """

    number: int
    content: bytes | None
    resized: bool = False
    why: str = ""
    lost: bool = False


def prepare(images: Images, number: int, how: Packing) -> Prepared:
    """Return one image as it is packed."""
    try:
        content = images.read(number)
        pixels = decode(content)
    except SourceLost as error:
        return Prepared(number, None, why=str(error), lost=True)
    except (OSError, ValueError) as error:
        return Prepared(number, None, why=" ".join(str(error).split())[:200])
    smaller = resized(content, pixels, how.resize, how.quality) if how.resize else None
    return Prepared(number, content if smaller is None else smaller, smaller is not None)


def resized(content: bytes, pixels: np.ndarray, side: int, quality: int | None) -> bytes | None:
    """Return the file of an image whose shorter side is `side` px; None where it is kept: it is no larger, or a GIF.

    Pillow's Lanczos filter, antialiased, on what training would see (RGB, without EXIF and colour profiles); in the
    file's own format, JPEG with its colours at half resolution (4:2:0), as nearly all photographs have them.

    Args:
        content: the file.  pixels: it decoded, (h, w, 3) uint8.  quality: of JPEG and WebP.
    """
    height, width = pixels.shape[:2]
    if min(height, width) <= side:
        return None
    with Image.open(io.BytesIO(content)) as file:
        kind = WRITERS.get(file.format or "")
    if kind is None:
        return None
    scale = side / min(height, width)
    size = max(side, round(width * scale)), max(side, round(height * scale))
    options = {"JPEG": {"quality": quality, "subsampling": "4:2:0"}, "WEBP": {"quality": quality}}.get(kind, {})
    made = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS).save(made, kind, **options)
    return made.getvalue()


class _PreparedImages(Dataset[Prepared]):
    def __init__(self, images: Images, how: Packing):
        self.images, self.how = images, how

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> Prepared:
        return prepare(self.images, number, self.how)


def prepare_all(images: Images, how: Packing, workers: int, start: int) -> Iterator[Prepared]:
    """Yield the images from `start` on, in order, prepared by worker processes.

    Raises:
        SourceLost: the folder or service is gone.
    """
    loader = DataLoader(
        _PreparedImages(images, how),
        batch_size=8,
        sampler=range(start, len(images)),
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=start_worker,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator().manual_seed(0),
    )
    for several in loader:
        for prepared in several:
            if prepared.lost:
                raise SourceLost(prepared.why)
            yield prepared
