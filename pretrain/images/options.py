"""How an image becomes its views, as options: every value that a recipe states. Imports no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from benchmark.core.errors import UserError
from benchmark.core.options import check_values, option
from benchmark.core.value_types import NonNegativeFloat, UnitInterval
from pretrain.images.recipe import IMAGENET_MEAN, IMAGENET_STD, ViewRecipe

Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Strength = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
GROUP = "Views"


@dataclass(frozen=True)
class ViewOptions:
    """The augmentation of all views of an image; probabilities that differ between views are given for each view."""

    crop_scale: tuple[Share, Share] = option((0.2, 1.0), "range of the crop's share of the image's area", group=GROUP)
    crop_ratio: tuple[Positive, Positive] = option((3 / 4, 4 / 3), "range of the crop's width / height", group=GROUP)
    interpolation: Literal["bilinear", "bicubic"] = option("bilinear", "how the crop is resized", group=GROUP)
    jitter: tuple[Strength, Strength, Strength, Annotated[float, Field(ge=0, le=0.5)]] = option(
        (0.4, 0.4, 0.2, 0.1), "strengths of brightness, contrast, saturation and hue", group=GROUP
    )
    jitter_p: UnitInterval = option(0.8, "probability of the colour jitter", group=GROUP)
    gray_p: UnitInterval = option(0.2, "probability of turning grey", group=GROUP)
    gray_first: bool = option(False, "turn grey before the jitter instead of after it", group=GROUP)
    blur_p: tuple[UnitInterval, ...] = option((1.0, 0.1), "probability of the blur, of each view", group=GROUP)
    blur_kind: Literal["pillow", "gaussian"] = option(
        "pillow", "Pillow's blur, or a true Gaussian with a kernel of a tenth of the view", group=GROUP
    )
    blur_sigma: tuple[Positive, Positive] = option(
        (0.1, 2.0), "range of the blur's standard deviation, in px of the view", group=GROUP
    )
    solarize_p: tuple[UnitInterval, ...] = option(
        (0.0, 0.2), "probability of inverting the bright levels, of each view", group=GROUP
    )
    flip_p: UnitInterval = option(0.5, "probability of mirroring left and right", group=GROUP)
    flip_first: bool = option(False, "mirror directly after the crop instead of at the end", group=GROUP)
    pixel_mean: tuple[UnitInterval, UnitInterval, UnitInterval] = option(
        IMAGENET_MEAN, "subtracted from levels in [0, 1]", group=GROUP
    )
    pixel_std: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = option(
        IMAGENET_STD, "levels are divided by it", group=GROUP
    )

    def __post_init__(self) -> None:
        check_values(self)
        for name in ("crop_scale", "crop_ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if low > high:
                raise UserError(f"--{name.replace('_', '-')} {low:g},{high:g} ends before it begins.")
        if not all(self.pixel_std):
            raise UserError("--pixel-std holds a 0, by which nothing can be divided; give numbers above 0.")
        if len(self.blur_p) != len(self.solarize_p):
            raise UserError(
                f"--blur-p names {len(self.blur_p)} views and --solarize-p {len(self.solarize_p)}; give one value for "
                "each view."
            )

    def recipes(self) -> tuple[ViewRecipe, ...]:
        """Return the recipe of each view."""
        brightness, contrast, saturation, hue = self.jitter
        return tuple(
            ViewRecipe(
                crop_scale=self.crop_scale,
                crop_ratio=self.crop_ratio,
                interpolation=self.interpolation,
                brightness=brightness,
                contrast=contrast,
                saturation=saturation,
                hue=hue,
                jitter_p=self.jitter_p,
                gray_p=self.gray_p,
                gray_first=self.gray_first,
                blur_p=blur_p,
                blur_sigma=self.blur_sigma,
                blur_kind=self.blur_kind,
                solarize_p=solarize_p,
                flip_p=self.flip_p,
                flip_first=self.flip_first,
                mean=self.pixel_mean,
                std=self.pixel_std,
            )
            for blur_p, solarize_p in zip(self.blur_p, self.solarize_p, strict=True)
        )
