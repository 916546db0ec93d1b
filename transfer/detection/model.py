"""The detector of a Detectron2 config, and the proof that its backbone is the file it was asked to load.

Importing this module registers ``Res5ROIHeadsExtraNorm`` with Detectron2. Other code must build detectors by
``build_detector``, so that the registration cannot be forgotten (pitfall 13).
"""

import hashlib
import re
from collections import Counter
from typing import Any

import numpy as np
import torch
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts, convert_c2_detectron_names
from detectron2.config import CfgNode, configurable
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec, get_norm
from detectron2.layers.batch_norm import NaiveSyncBatchNorm
from detectron2.modeling import build_model
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, Res5ROIHeads
from torch import Tensor, nn

from benchmark.core.errors import RunFailed, UserError

CAFFE2 = "Caffe2"  # the author Detectron2 writes on files whose names it has to translate, such as MSRA's R-50.pkl
# Constants that older Detectron2 stored with the weights; every model makes its own.
_RECOMPUTED = re.compile(r"pixel_(mean|std)$|anchor_generator\.|num_batches_tracked$")
NORMS = (nn.modules.batchnorm._BatchNorm, FrozenBatchNorm2d, NaiveSyncBatchNorm, nn.GroupNorm, nn.LayerNorm)


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


def build_detector(cfg: CfgNode) -> nn.Module:
    """Return the detector of a Detectron2 config on ``cfg.MODEL.DEVICE``, with Detectron2's random weights.

    Two parts get their inputs in float32 under autocast, because Detectron2 guards them against float16 alone. The
    pooler of regions casts boxes to its features' dtype, and bf16 keeps 8 bits of a coordinate (boxes move by up to
    2 px at COCO's sizes); naive SyncBN takes a variance as E[x^2] - E[x]^2, which bf16 turns into 0 or less.
    """
    model = build_model(cfg)
    for module in model.modules():
        if isinstance(module, ROIPooler):
            module.register_forward_pre_hook(_float_features)
        elif isinstance(module, NaiveSyncBatchNorm):
            module.register_forward_pre_hook(_float_input)
    return model


def _float_features(_: nn.Module, arguments: tuple) -> tuple:
    features, *rest = arguments
    return [feature.float() for feature in features], *rest


def _float_input(_: nn.Module, arguments: tuple) -> tuple:
    return (arguments[0].float(),)


def load_weights(model: nn.Module, checkpoint: dict[str, Any]) -> int:
    """Load a converted checkpoint, or one of Detectron2's own, and prove that the backbone is now that file's.

    Names are matched by Detectron2's own heuristics (longest suffix), so that one file serves C4 and FPN. The file is
    read before (``convert_checkpoint``, ``read_file``): Detectron2's reader unpickles ``.pkl`` without restriction.

    Args:
        model: from ``build_detector``, not wrapped in DDP.
        checkpoint: ``{"model", "__author__", "matching_heuristics"}``; not changed.

    Returns:
        The number of backbone tensors proven, see ``prove_backbone``.

    Raises:
        RunFailed: see ``prove_backbone``.
    """
    tensors = {name: torch.as_tensor(value) for name, value in checkpoint["model"].items()}
    translate = checkpoint.get("__author__") == CAFFE2
    matched = align_and_update_state_dicts(model.state_dict(), tensors, c2_conversion=translate)
    model.load_state_dict({name: value for name, value in matched.items() if name in model.state_dict()}, strict=False)
    return prove_backbone(model, checkpoint)


def load_whole_detector(model: nn.Module, checkpoint: dict[str, Any], path: str) -> None:
    """Load every tensor of a detector from a file in Detectron2's format (``--eval-only``).

    Args:
        model: from ``build_detector``.
        checkpoint: ``{"model": name -> tensor or array}``.
        path: of the file, for messages.

    Raises:
        UserError: tensors of the model are missing, unexpected or of another shape; all kinds are listed.
    """
    held = model.state_dict()
    arrays = (Tensor, np.ndarray)  # a stranger's file may hold anything
    given = {name: torch.as_tensor(value) for name, value in checkpoint["model"].items() if isinstance(value, arrays)}
    counters = [name for name in held if name.endswith("num_batches_tracked") and name not in given]
    faults = {
        "missing": [name for name in held if name not in given and name not in counters],
        "unexpected": [n for n in given if n not in held and not _RECOMPUTED.search(n)],
        "of another shape": [n for n in given if n in held and given[n].shape != held[n].shape],
    }
    told = [f"{len(names)} {fault} ({', '.join(names[:3])})" for fault, names in faults.items() if names]
    if told:
        raise UserError(
            f"{path} is no detector of this protocol and data: {'; '.join(told)}; give the --protocol that trained it."
        )
    model.load_state_dict(held | {name: value for name, value in given.items() if name in held})


def prove_backbone(model: nn.Module, checkpoint: dict[str, Any]) -> int:
    """Prove by SHA-256 fingerprints that every tensor of the model's ResNet-50 is the checkpoint's.

    Covers ``stem`` and ``res2`` to ``res5`` wherever the model keeps them (C4: res5 in ``roi_heads``). MSRA's files
    hold no running statistics, because they are folded into weight and bias: there 159 tensors instead of 265.

    Args:
        model: a detector on any device, before its first step.
        checkpoint: what was loaded, as for ``load_weights``.

    Returns:
        The number of tensors proven: 265, or 159 for MSRA's.

    Raises:
        RunFailed: a backbone tensor is not in the file or differs from it; the first names are listed.
    """
    tensors = checkpoint["model"]
    folded = checkpoint.get("__author__") == CAFFE2
    if folded:
        tensors, _ = convert_c2_detectron_names({name: torch.as_tensor(value) for name, value in tensors.items()})
    expected = {_bare(name): torch.as_tensor(value) for name, value in tensors.items() if _bare(name)}
    held = backbone_tensors(model)
    if folded:
        held = {name: tensor for name, tensor in held.items() if ".running_" not in name}
    unproven = [
        name
        for name, tensor in held.items()
        if name not in expected or fingerprint(tensor) != fingerprint(expected[name])
    ]
    if unproven or len(held) != (159 if folded else 265):
        names = ", ".join(unproven[:5]) or "none of its own names"
        raise RunFailed(
            f"{len(held) - len(unproven)} of {len(held)} backbone tensors of the detector are the file's, not all of a "
            f"ResNet-50's (others: {names}); training would start from other weights than asked, so it was stopped"
        )
    return len(held)


def backbone_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of the model's ResNet, norm counters aside, under bare names such as ``res2.0.conv1.weight``.

    They share memory with the model. Raises ``RunFailed`` if the model holds two tensors of one bare name.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        bare = _bare(name)
        if bare and not name.endswith("num_batches_tracked"):
            if bare in found:
                raise RunFailed(f"the detector holds {bare} twice; it has no single ResNet to load weights into")
            found[bare] = tensor
    return found


def _bare(name: str) -> str:
    """Cut ``backbone.bottom_up.`` and the like; empty for tensors outside the ResNet (the extra norm included)."""
    parts = name.split(".")
    for start, part in enumerate(parts):
        inside_stage = part in ("res2", "res3", "res4", "res5") and parts[start + 1 : start + 2] != ["norm"]
        if inside_stage or part == "stem":
            return ".".join(parts[start:])
    return ""


def fingerprint(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's shape and float32 bytes."""
    values = tensor.detach().to("cpu", torch.float32).contiguous()
    return hashlib.sha256(repr(tuple(values.shape)).encode() + values.numpy().tobytes()).hexdigest()


def norm_kinds(model: nn.Module) -> dict[str, int]:
    """Count the norm layers of a model by class, such as ``{"NaiveSyncBatchNorm": 54}``: what really runs."""
    return dict(Counter(type(layer).__name__ for layer in model.modules() if isinstance(layer, NORMS)))
