"""Views made on the training's own device: workers hand over files, the device decodes them and makes the views.

A worker reads a file, looks at its header and draws the parameters of its views, as it does for the other engines. What
is a whole JPEG at first sight goes on as it is; every other file is decoded in the worker. In the training process
torchvision decodes the JPEGs on the device (nvJPEG on a GPU), one by one on the CPU where it cannot, and ``batched.py``
makes the views. A JPEG that is damaged inside, in a way that decoders only warn about, is not noticed here; the other
engines replace it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import simplejpeg
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from pretrain.images.batched import apply_batched
from pretrain.images.decoding import MAX_PIXELS, decode
from pretrain.images.parameters import ViewParameters, draw
from pretrain.images.recipe import ViewSettings

END = b"\xff\xd9"  # of a JPEG; some cameras write a little behind it
LOOKED_AT = 64  # bytes at the end that are searched for it


@dataclass(frozen=True)
class Encoded:
    """An image on its way to the device.

    Attributes:
        key: (epoch, place) of the image in the order.
        content: (b,) uint8: a JPEG file, or all levels of an image that is decoded already; None in a batch, where it
            is part of the batch's.
        length: b.  height, width: in px.  jpeg: whether it is still to be decoded.
        drawn: what happens to the image in each view.
    """

    key: tuple[int, int]
    content: np.ndarray | None
    length: int
    height: int
    width: int
    jpeg: bool
    drawn: tuple[ViewParameters, ...]


def encoded(content: bytes, seed: int, key: tuple[int, int], settings: ViewSettings, trusting: bool = True) -> Encoded:
    """Return an image file as it is handed to the device, with its views' parameters drawn.

    Args:
        content: of the file.  seed: of the run.  key: (epoch, place).  settings: of the views.
        trusting: False decodes the file here, whatever it is.

    Raises:
        ValueError: it is no whole image.
    """
    size = _size_of_jpeg(content) if trusting else None
    jpeg = size is not None
    if jpeg:
        data = np.frombuffer(content, np.uint8)
    else:
        pixels = decode(content)
        size, data = pixels.shape[:2], pixels.reshape(-1)
    drawn = tuple(draw((seed, *key, view), *size, recipe) for view, recipe in enumerate(settings.recipes))
    return Encoded(key, data, len(data), *size, jpeg, drawn)


def _size_of_jpeg(content: bytes) -> tuple[int, int] | None:
    """Return height and width of a JPEG that decoders on a device read; None for anything else."""
    if content[:2] != b"\xff\xd8" or END not in content[-LOOKED_AT:]:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content, strict=True)
    except ValueError:
        return None
    return (height, width) if colours in ("YCbCr", "Gray") and height * width <= MAX_PIXELS else None


@dataclass(frozen=True)
class EncodedBatch:
    """This process's part of a global batch before it is on the device; attributes as of ``loading.Batch``.

    ``content`` are the contents of all `images` one after the other, (b,) uint8.
    """

    content: Tensor
    images: tuple[Encoded, ...]
    labels: Tensor | None
    unreadable: tuple[str, ...]
    failure: str | None = None


def joined(images: Sequence[Encoded]) -> tuple[Tensor, tuple[Encoded, ...]]:
    """Return the contents of images one after the other, and the images without them."""
    content = torch.from_numpy(np.concatenate([image.content for image in images]))
    return content, tuple(replace(image, content=None) for image in images)


class NotDecoded(Exception):
    """Neither device nor CPU can decode the images at these ``places`` of the batch."""

    def __init__(self, places: list[int]):
        super().__init__(places)
        self.places = places


def views_on(device: torch.device, batch: EncodedBatch, settings: ViewSettings) -> tuple[Tensor, ...]:
    """Return the views of a batch, (n, S, S, 3) uint8 each, on the device.

    Raises:
        NotDecoded: some images are not whole.
    """
    images = _decoded(device, batch)
    return tuple(
        apply_batched(images, [image.drawn[view] for image in batch.images], recipe, settings.image_size)
        for view, recipe in enumerate(settings.recipes)
    )


def _decoded(device: torch.device, batch: EncodedBatch) -> list[Tensor]:
    """Return all images of a batch, (3, h, w) uint8 each, on the device."""
    contents = batch.content.split([image.length for image in batch.images])
    found: list[Tensor | None] = [
        None if image.jpeg else content.to(device).view(image.height, image.width, 3).permute(2, 0, 1)
        for image, content in zip(batch.images, contents, strict=True)
    ]
    waiting = [place for place, image in enumerate(batch.images) if image.jpeg]
    try:
        made = decode_jpeg([contents[place] for place in waiting], ImageReadMode.RGB, device) if waiting else []
    except RuntimeError:  # of the whole batch, whichever image it is
        made = [_decode_one(contents[place], device) for place in waiting]
    for place, image in zip(waiting, made, strict=True):
        whole = image is not None and image.shape[1:] == (batch.images[place].height, batch.images[place].width)
        found[place] = image if whole else None
    if missing := [place for place, image in enumerate(found) if image is None]:
        raise NotDecoded(missing)
    return found


def _decode_one(content: Tensor, device: torch.device) -> Tensor | None:
    """Decode one JPEG on the device, or else on the CPU; None where it is not whole."""
    try:
        return decode_jpeg(content, ImageReadMode.RGB, device)
    except RuntimeError:
        pass
    try:
        return torch.from_numpy(decode(content.numpy().tobytes())).to(device).permute(2, 0, 1)
    except ValueError:
        return None
