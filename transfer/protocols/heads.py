"""The head that the C4 protocols name; importing this module registers it with Detectron2."""

from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, Res5ROIHeads


@ROI_HEADS_REGISTRY.register()
class Res5ROIHeadsExtraNorm(Res5ROIHeads):
    """Res5ROIHeads with one more norm, of the backbone's kind, after res5.

    MoCo's C4 protocol (arXiv 1911.05722, section 4.2): self-supervised res5 outputs have no natural scale, the box and
    mask heads need one. The norm is ``roi_heads.res5.norm``, after the three blocks.
    """

    @configurable
    def __init__(self, **parts: Any):
        super().__init__(**parts)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Return the constructor's arguments: those of Res5ROIHeads, ``res5`` followed by the norm."""
        parts = super().from_config(cfg, input_shape)
        channels = parts["res5"][-1].out_channels
        parts["res5"].add_module("norm", get_norm(cfg.MODEL.RESNETS.NORM, channels))
        return parts
