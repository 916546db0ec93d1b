"""The batched engine: the reference's steps on whole batches by torch, on any device, in Pillow's arithmetic.

Levels are whole numbers in float32 and are cut off or rounded after each step where Pillow does. Crops are resized one
by one, since each has its own size; everything else is done for all images of a batch that need it at once. It is close
to the reference engine, not equal to it; tests/pretrain/images/test_batched.py says how close.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.images.kernels import blur_kernel
from pretrain.images.parameters import ViewParameters
from pretrain.images.recipe import SOLARIZE_THRESHOLD, ViewRecipe

JITTERS = 4  # operations of the colour jitter


def apply_batched(images: Sequence[Tensor], drawn: Sequence[ViewParameters], recipe: ViewRecipe, size: int) -> Tensor:
    """Return one view of every image, (n, size, size, 3) uint8 RGB, on the images' device.

    Args:
        images: (3, h, w) uint8 RGB, all on one device.  drawn: what happens to each.
        recipe: of the view.  size: side of the view in px.
    """
    x = torch.stack([_resized_crop(image, d, size, recipe) for image, d in zip(images, drawn, strict=True)])
    gray = [d.gray for d in drawn]
    if recipe.gray_first:
        _where(x, gray, _gray)
    for place in range(JITTERS):
        _jitter(x, drawn, place, recipe)
    if not recipe.gray_first:
        _where(x, gray, _gray)
    _blur(x, drawn, recipe, size)
    _where(x, [d.solarize for d in drawn], lambda view: torch.where(view < SOLARIZE_THRESHOLD, view, 255 - view))
    _where(x, [d.flip for d in drawn], lambda view: view.flip(-1))
    return x.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _where(x: Tensor, wanted: Sequence[bool], change: Callable[[Tensor], Tensor]) -> None:
    """Replace the images of a batch that are wanted by what `change` makes of them together."""
    if chosen := [number for number, one in enumerate(wanted) if one]:
        index = torch.tensor(chosen, device=x.device)
        x[index] = change(x[index])


def _resized_crop(image: Tensor, drawn: ViewParameters, size: int, recipe: ViewRecipe) -> Tensor:
    top, left, height, width = drawn.box
    crop = image[None, :, top : top + height, left : left + width].float()
    resized = F.interpolate(crop, (size, size), mode=recipe.interpolation, antialias=True)[0]
    return resized.round_().clamp_(0, 255)


def _jitter(x: Tensor, drawn: Sequence[ViewParameters], place: int, recipe: ViewRecipe) -> None:
    """Apply the operation that comes at this place of each image's jitter."""
    for operation, adjust in _ADJUST.items():
        chosen, factors = [], []
        for number, one in enumerate(drawn):
            if one.jitter is None or place >= len(one.jitter) or one.jitter[place][0] != operation:
                continue
            if one.gray and recipe.gray_first and operation in ("saturation", "hue"):  # which leave grey as it is
                continue
            chosen.append(number)
            factors.append(one.jitter[place][1])
        if chosen:
            index = torch.tensor(chosen, device=x.device)
            factor = torch.tensor(factors, dtype=torch.float32, device=x.device).view(-1, 1, 1, 1)
            x[index] = adjust(x[index], factor)


def _luma(x: Tensor) -> Tensor:
    """Return Pillow's grey, (n, 1, h, w): all sums are below 2 ** 24, so float32 holds them exactly."""
    red, green, blue = x.split(1, 1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 32768) / 65536).floor_()


def _gray(x: Tensor) -> Tensor:
    return _luma(x).expand_as(x)


def _blend(other: Tensor | float, x: Tensor, factor: Tensor) -> Tensor:
    """Return Pillow's ImagingBlend: fractions are cut off."""
    return (other + factor * (x - other)).clamp_(0, 255).floor_()


def _contrast(x: Tensor, factor: Tensor) -> Tensor:
    mean = _luma(x).mean((1, 2, 3), keepdim=True, dtype=torch.float64).add_(0.5).floor_().float()
    return _blend(mean, x, factor)


def _hue(x: Tensor, factor: Tensor) -> Tensor:
    """Shift the hue as Pillow does, whose HSV has 8 bits (libImaging/Convert.c, rgb2hsv_row and hsv2rgb)."""
    value, low = x.amax(1), x.amin(1)
    span = value - low
    away = (value[:, None] - x) / span.clamp(min=1)[:, None]
    red, green, blue = away.unbind(1)
    turns = torch.where(x[:, 0] == value, blue - green, torch.where(x[:, 1] == value, 2 + red - blue, 4 + green - red))
    hue = ((turns / 6 + 1) % 1 * 255).floor_().masked_fill_(span == 0, 0)
    saturation = (span / value.clamp(min=1) * 255).floor_() / 255
    hue = (hue + (factor * 255).trunc().view(-1, 1, 1)) % 256 * (6 / 255)
    sector = hue.floor()
    part = hue - sector
    p, q, t = (
        (value * (1 - saturation * share)).add_(0.5).floor_() for share in (torch.ones_like(part), part, 1 - part)
    )
    options = torch.stack((
        torch.stack((value, q, p, p, t, value)), torch.stack((t, value, value, q, p, p)),
        torch.stack((p, p, t, value, value, q)),
    ))  # fmt: skip
    index = (sector.long() % 6)[None, None].expand(3, 1, -1, -1, -1)
    return options.gather(1, index)[:, 0].transpose(0, 1).clamp_(0, 255)


_ADJUST: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": lambda x, factor: _blend(0.0, x, factor),
    "contrast": _contrast,
    "saturation": lambda x, factor: _blend(_luma(x), x, factor),
    "hue": _hue,
}


def _blur(x: Tensor, drawn: Sequence[ViewParameters], recipe: ViewRecipe, size: int) -> None:
    """Filter every image that is blurred with its own kernel, in one pass along each side."""
    chosen = [number for number, one in enumerate(drawn) if one.blur is not None]
    if not chosen:
        return
    kernels = [blur_kernel(drawn[number].blur, recipe.blur_kind, size) for number in chosen]
    half = max(len(kernel) for kernel in kernels) // 2
    padded = np.stack([np.pad(kernel, half - len(kernel) // 2) for kernel in kernels])
    taps = torch.from_numpy(padded).to(x.device).T[..., None, None, None]  # (k, n, 1, 1, 1)
    index = torch.tensor(chosen, device=x.device)
    mode = "replicate" if recipe.blur_kind == "pillow" else "reflect"
    view = _filtered(F.pad(x[index], (half, half, 0, 0), mode), taps, 3)
    x[index] = _filtered(F.pad(view, (0, 0, half, half), mode), taps, 2).round_().clamp_(0, 255)


def _filtered(padded: Tensor, taps: Tensor, side: int) -> Tensor:
    """Filter along one side, tap by tap: no convolution, which on a GPU would choose TF32 and search for algorithms."""
    length = padded.shape[side] - len(taps) + 1
    found = padded.narrow(side, 0, length) * taps[0]
    for place, tap in enumerate(taps[1:], 1):
        found.addcmul_(padded.narrow(side, place, length), tap)
    return found
