"""The backbone in the forms that other projects' tools load: Detectron2's, MoCo's and torchvision's."""

from collections.abc import Callable
from typing import Any

import torch

from benchmark.core.errors import UserError
from transfer.checkpoints.backbone import Backbone
from transfer.checkpoints.convention import RGB
from transfer.checkpoints.detectron2_form import AUTHOR
from transfer.checkpoints.resnet import COUNTER


def detectron2_content(backbone: Backbone) -> dict[str, Any]:
    """Return what Detectron2 loads into C4 and FPN models alike. Raises ``UserError`` for a ResNet-18."""
    if backbone.arch != "resnet50":
        raise UserError(
            "this is a ResNet-18, and only a ResNet-50 becomes Detectron2 weights; --to torchvision takes it."
        )
    return backbone.checkpoint


def moco_content(backbone: Backbone) -> dict[str, Any]:
    """Return a checkpoint as MoCo's main_moco.py saves one, of the query encoder alone.

    MoCo's linear probe (main_lincls.py) takes from ``state_dict`` what begins with ``module.encoder_q``, and misses the
    classifier alone; its convert-pretrain-to-detectron2.py takes the same names.
    """
    _check_input(backbone, "moco")
    state = {f"module.encoder_q.{name}": tensor for name, tensor in _with_counters(backbone).items()}
    about = {"epoch": backbone.epoch, "arch": backbone.arch, "__author__": AUTHOR, "source": backbone.source()}
    return {**about, "state_dict": state}


def torchvision_content(backbone: Backbone) -> dict[str, Any]:
    """Return a state dict that torchvision's and timm's ResNet load, the classifier missing."""
    _check_input(backbone, "torchvision")
    return _with_counters(backbone)


FORMS: dict[str, Callable[[Backbone], dict[str, Any]]] = {  # --to
    "detectron2": detectron2_content,
    "moco": moco_content,
    "torchvision": torchvision_content,
}


def _check_input(backbone: Backbone, form: str) -> None:
    """Raise ``UserError`` for a network whose images the other tool would prepare wrongly without a word."""
    if backbone.convention != RGB:
        raise UserError(
            f"this backbone does not take torchvision's kind of images, or does not say so, and who reads --to {form} "
            "would give it those; --layout detectron2 says that a detector of Detectron2 takes them."
        )


def _with_counters(backbone: Backbone) -> dict[str, torch.Tensor]:
    """Return the tensors as torchvision's own state dict orders them, each norm with its counter (unknown, so 0)."""
    state: dict[str, torch.Tensor] = {}
    for name, tensor in backbone.tensors.items():
        state[name] = tensor.clone()
        if name.endswith("running_var"):
            state[name.removesuffix("running_var") + COUNTER] = torch.tensor(0)
    return state
