"""How a family of weights takes its images: order of channels, normalisation, and the stride that belongs to it.

Nothing warns when this is wrong: names and shapes are the same, only the features are not.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detectron2.config import CfgNode


@dataclass(frozen=True)
class InputConvention:
    """How a family of weights wants its images and its stride.

    Attributes:
        name: ``rgb``, ``msra`` or ``unit``; what a converted file says under ``input``.
        format: order of the channels, ``RGB`` or ``BGR``.
        mean, std: per channel in that order, on the scale 0 to 255.
        stride_in_1x1: whether a stage halves the image in its first 1x1 convolution (MSRA) or in its 3x3.
    """

    name: str
    format: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    stride_in_1x1: bool

    def apply(self, cfg: "CfgNode") -> None:
        """Write the convention into a Detectron2 config that is not frozen."""
        cfg.INPUT.FORMAT = self.format
        cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = list(self.mean), list(self.std)
        cfg.MODEL.RESNETS.STRIDE_IN_1X1 = self.stride_in_1x1


RGB = InputConvention("rgb", "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False)
MSRA_BGR = InputConvention("msra", "BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), True)
UNIT = InputConvention("unit", "RGB", (0.0, 0.0, 0.0), (255.0, 255.0, 255.0), False)  # 0 to 1: SimCLR's, of TensorFlow
CONVENTIONS = {convention.name: convention for convention in (RGB, MSRA_BGR, UNIT)}
