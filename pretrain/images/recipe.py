"""What is done to an image: a ``ViewRecipe`` for each view, and the views of every published method.

A recipe holds ranges and probabilities; ``parameters.py`` draws from them, ``fast.py`` and ``reference.py`` apply what
was drawn. The operations are those of torchvision on Pillow images, which is what every PyTorch release uses.
SimCLR and BYOL were released for TensorFlow and JAX. Here they run with torchvision's operations too, which differ from
theirs in this: both take contrast about the mean of each channel instead of the grey mean, change saturation in HSV,
pad the blur with zeros instead of mirroring, and resize without antialiasing; BYOL adds to brightness instead of
multiplying it.
"""

from dataclasses import dataclass
from typing import Literal

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SOLARIZE_THRESHOLD = 128  # levels from here on are inverted


@dataclass(frozen=True)
class ViewRecipe:
    """How one view is drawn and made; the defaults are those of MoCo v2.

    The order is: crop, [flip], [grey], jitter, grey, blur, solarise, flip, where the steps in brackets take place only
    when ``flip_first`` or ``gray_first`` says so (and then not later).

    Attributes:
        crop_scale: range of the crop's share of the image's area, in (0, 1].
        crop_ratio: range of the crop's width / height, drawn uniformly in the logarithm.
        interpolation: how the crop is resized; widened when it shrinks, as Pillow does (antialiasing).
        brightness, contrast, saturation: strength s >= 0; the factor is uniform in [max(0, 1 - s), 1 + s].
        hue: strength in [0, 0.5]; the shift is uniform in [-hue, hue] of the colour circle.
        jitter_p: probability of the four operations of jitter, which come in random order. 0 to 1, as all that follow.
        gray_p: probability of turning grey.
        gray_first: turn grey before the jitter and not after it (MoCo v1).
        blur_p, blur_sigma: probability of the blur and range of its sigma, in px of the view.
        blur_kind: ``pillow``, Pillow's GaussianBlur (three box filters), or ``gaussian``, a true Gaussian whose kernel
            is a tenth of the view wide (23 px at 224).
        solarize_p: probability of inverting all levels from 128 on.
        flip_p: probability of mirroring left and right.
        flip_first: mirror directly after the crop; it changes no probability, only the last bit of some pixels.
        mean, std: what normalisation subtracts and divides by, of levels in [0, 1] (R, G, B).
    """

    crop_scale: tuple[float, float] = (0.2, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    jitter_p: float = 0.8
    gray_p: float = 0.2
    gray_first: bool = False
    blur_p: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_kind: Literal["pillow", "gaussian"] = "pillow"
    solarize_p: float = 0.0
    flip_p: float = 0.5
    flip_first: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name in ("jitter_p", "gray_p", "blur_p", "solarize_p", "flip_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a probability lies between 0 and 1")
        for name in ("brightness", "contrast", "saturation"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue is {self.hue}; it must lie between 0 and 0.5")
        for name in ("crop_scale", "crop_ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} is ({low}, {high}); it must be a range above 0")
        if self.crop_scale[1] > 1:
            raise ValueError(f"crop_scale ends at {self.crop_scale[1]}; a crop is no larger than its image")
        for name, known in (("interpolation", ("bilinear", "bicubic")), ("blur_kind", ("pillow", "gaussian"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {' or '.join(known)}")


Views = tuple[ViewRecipe, ...]

# facebookresearch/moco main_moco.py:326-348 at 7397dfe: without and with --aug-plus.
_MOCO_V1 = ViewRecipe(hue=0.4, jitter_p=1.0, gray_first=True, blur_p=0.0)
_MOCO_V2 = ViewRecipe()
# xinliu20/MEC main_pretrain.py:231-254 at 35045dc; Matrix-SSL, whose code builds on it, has the same views.
_MEC = ViewRecipe(saturation=0.2, blur_p=1.0), ViewRecipe(saturation=0.2, blur_p=0.1, solarize_p=0.2)
# facebookresearch/barlowtwins main.py:290-321 at 8e8d284; facebookresearch/vicreg augmentations.py:37-89 at 4e12602.
# VICReg's paper (appendix C.1) has blur_p 0.5 and solarize_p 0.1 in both views instead.
_BARLOW_TWINS = (
    ViewRecipe((0.08, 1.0), interpolation="bicubic", saturation=0.2, blur_p=1.0, flip_first=True),
    ViewRecipe((0.08, 1.0), interpolation="bicubic", saturation=0.2, blur_p=0.1, solarize_p=0.2, flip_first=True),
)
# google-deepmind/deepmind-research byol/utils/augmentations.py:27-66 and dataset.py:201-218 at f5de0ed.
_BYOL = (
    ViewRecipe(
        (0.08, 1.0), interpolation="bicubic", saturation=0.2, blur_p=1.0, blur_kind="gaussian", flip_first=True
    ),
    ViewRecipe(
        (0.08, 1.0), interpolation="bicubic", saturation=0.2, blur_p=0.1, blur_kind="gaussian", solarize_p=0.2,
        flip_first=True,
    ),
)  # fmt: skip
# google-research/simclr data_util.py:74-77, 304-325, 387-440 at 383d414; pixels stay in [0, 1].
_SIMCLR = ViewRecipe(
    (0.08, 1.0), interpolation="bicubic", brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, blur_kind="gaussian",
    flip_first=True, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
)  # fmt: skip
# facebookresearch/swav scripts/swav_400ep_2x224_pretrain.sh:28-31 and src/multicropdataset.py:37-51, 71, 88-94 at
# 06b1b7c; its standard deviation of red is 0.228, not ImageNet's 0.229.
_SWAV = ViewRecipe(
    (0.08, 1.0), brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, flip_first=True, std=(0.228, 0.224, 0.225)
)
# pytorch/examples imagenet/main.py:247 at 77f55b9: RandomResizedCrop and flip.
_SUPERVISED = ViewRecipe(
    (0.08, 1.0), brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, jitter_p=0.0, gray_p=0.0, blur_p=0.0
)

PUBLISHED: dict[str, Views] = {
    "kernel_ssl": _MEC,
    "mec": _MEC,
    "simclr": (_SIMCLR, _SIMCLR),
    "moco_v1": (_MOCO_V1, _MOCO_V1),
    "moco_v2": (_MOCO_V2, _MOCO_V2),
    "byol": _BYOL,
    "swav": (_SWAV, _SWAV),
    "simsiam": (_MOCO_V2, _MOCO_V2),  # facebookresearch/simsiam main_simsiam.py:228-239 at a7bc177
    "barlow_twins": _BARLOW_TWINS,
    "vicreg": _BARLOW_TWINS,
    "supervised": (_SUPERVISED,),
}


@dataclass(frozen=True)
class ViewSettings:
    """How the images of a run become views.

    Attributes:
        image_size: side of a view in px.
        engine: ``fast``, ``reference``, or ``gpu``: made in batches on the training's device.
        recipes: one for each view of an image, in the method's order.
    """

    image_size: int = 224
    engine: Literal["fast", "reference", "gpu"] = "fast"
    recipes: Views = PUBLISHED["kernel_ssl"]
