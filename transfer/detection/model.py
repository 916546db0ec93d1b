"""The detector of a Detectron2 config, and the proof that its backbone is the file it was asked to load.

Other code must build detectors by ``build_detector``: the heads that our protocols name are registered with Detectron2
here (``protocols/heads.py``), which then cannot be forgotten.
"""

import hashlib
import re
from collections import Counter
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.layers import FrozenBatchNorm2d
from detectron2.layers.batch_norm import NaiveSyncBatchNorm
from detectron2.modeling import build_model
from detectron2.modeling.poolers import ROIPooler
from detectron2.solver import build_lr_scheduler, build_optimizer
from torch import Tensor, nn

import transfer.protocols.heads  # noqa: F401 - registers the head that the C4 protocols name
from benchmark.core.errors import RunFailed, UserError
from pretrain.engine.processes import world_size
from transfer.checkpoints.backbone import Backbone, Detector

TENSORS = (265, 100)  # of a ResNet-50 and a ResNet-18: each convolution has a norm of four tensors
# Constants that older Detectron2 stored with the weights; every model makes its own.
_RECOMPUTED = re.compile(r"pixel_(mean|std)$|anchor_generator\.|num_batches_tracked$")
NORMS = (nn.modules.batchnorm._BatchNorm, FrozenBatchNorm2d, NaiveSyncBatchNorm, nn.GroupNorm, nn.LayerNorm)


def build_detector(cfg: CfgNode) -> nn.Module:
    """Return the detector of a Detectron2 config on ``cfg.MODEL.DEVICE``, with Detectron2's random weights.

    Two parts get their inputs in float32 under autocast, because Detectron2 guards them against float16 alone. The
    pooler of regions casts boxes to its features' dtype, and bf16 keeps 8 bits of a coordinate (boxes move by up to
    2 px at COCO's sizes); naive SyncBN takes a variance as E[x^2] - E[x]^2, which bf16 turns into 0 or less.

    On several processes the proposals fail on all of them or on none (``_fail_together``).
    """
    model = build_model(cfg)
    if world_size() > 1:
        _fail_together(model.proposal_generator)
    for module in model.modules():
        if isinstance(module, ROIPooler):
            module.register_forward_pre_hook(_float_features)
        elif isinstance(module, NaiveSyncBatchNorm):
            module.register_forward_pre_hook(_float_input)
    return model


def _fail_together(proposal_generator: nn.Module) -> None:
    """Let the search for regions raise ``FloatingPointError`` on every process when it does on one.

    In training Detectron2 raises it where boxes or scores are not finite. A process that left the forward pass alone
    would keep the others waiting for ever in the next norm that is synchronised: that of res5 or of the box head.
    """
    alone = proposal_generator.forward

    def forward(*arguments: Any, **named: Any) -> Any:
        failure, result = None, None
        try:
            result = alone(*arguments, **named)
        except FloatingPointError as error:
            failure = error
        if proposal_generator.training:
            device = next(proposal_generator.parameters()).device
            failed = torch.tensor(int(failure is not None), device=device)
            dist.all_reduce(failed)
            if failed and failure is None:
                failure = FloatingPointError("another process found boxes or scores that are not finite")
        if failure is not None:
            raise failure
        return result

    proposal_generator.forward = forward


def _float_features(_: nn.Module, arguments: tuple) -> tuple:
    features, *rest = arguments
    return [feature.float() for feature in features], *rest


def _float_input(_: nn.Module, arguments: tuple) -> tuple:
    return (arguments[0].float(),)


def check_fits(cfg: CfgNode, weights: Backbone | Detector, word: str) -> None:
    """Check, without memory for tensors, that a config builds a detector and that the weights have its shapes.

    Args:
        cfg: the effective config.
        weights: a backbone to start from, or a whole detector to evaluate.
        word: what ``--weights`` names, for messages.

    Raises:
        UserError: Detectron2 cannot build a detector, a mapper of images, an optimiser or a schedule from these
            settings; or tensors of the weights are missing or have other shapes.
    """
    without_memory = cfg.clone()
    without_memory.defrost()
    without_memory.MODEL.DEVICE = "meta"
    try:
        with torch.device("meta"):
            model = build_model(without_memory)
        DatasetMapper(cfg, is_train=True)
        build_lr_scheduler(cfg, build_optimizer(cfg, model))
    except Exception as error:  # whatever Detectron2's constructors and asserts raise for values they cannot take
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"Detectron2 cannot build a detector from these settings ({reason}); change them.") from None
    if isinstance(weights, Detector):
        check_detector(model, weights.checkpoint, word)
    elif weights.checkpoint is not None:
        given, held = _bare_tensors(weights.checkpoint), backbone_tensors(model)
        wrong = [name for name, tensor in held.items() if name not in given or given[name].shape != tensor.shape]
        if wrong or len(held) != len(given):
            raise UserError(
                f"the settings build another ResNet than that of {word}: {len(wrong)} of {len(held)} tensors differ "
                f"({', '.join(wrong[:3]) or 'the file has more'}); leave MODEL.RESNETS as the protocol has it."
            )


def load_weights(model: nn.Module, checkpoint: dict[str, Any]) -> int:
    """Load a converted checkpoint and prove that the backbone is now that file's.

    Names are matched by Detectron2's own heuristics (longest suffix), so that one file serves C4 and FPN. The file is
    read before (``resolve_weights``): Detectron2's reader unpickles ``.pkl`` without restriction.

    Args:
        model: from ``build_detector``, not wrapped in DDP.
        checkpoint: ``{"model", "__author__", "matching_heuristics"}``; not changed.

    Returns:
        The number of backbone tensors proven, see ``prove_backbone``.

    Raises:
        RunFailed: see ``prove_backbone``.
    """
    tensors = {name: torch.as_tensor(value) for name, value in checkpoint["model"].items()}
    matched = align_and_update_state_dicts(model.state_dict(), tensors, c2_conversion=False)
    model.load_state_dict({name: value for name, value in matched.items() if name in model.state_dict()}, strict=False)
    return prove_backbone(model, checkpoint)


def check_detector(model: nn.Module, checkpoint: dict[str, Any], path: str) -> dict[str, Tensor]:
    """Return the tensors of a whole detector in a file, after the check that they are exactly the model's.

    Raises:
        UserError: tensors of the model are missing, unexpected or of another shape; all kinds are listed.
    """
    held = model.state_dict()
    arrays = (Tensor, np.ndarray)  # a file from elsewhere may hold anything
    given = {name: torch.as_tensor(value) for name, value in checkpoint["model"].items() if isinstance(value, arrays)}
    counters = [name for name in held if name.endswith("num_batches_tracked") and name not in given]
    faults = {
        "missing": [name for name in held if name not in given and name not in counters],
        "unexpected": [n for n in given if n not in held and not _RECOMPUTED.search(n)],
        "of another shape": [n for n in given if n in held and given[n].shape != held[n].shape],
    }
    problems = [f"{len(names)} {fault} ({', '.join(names[:3])})" for fault, names in faults.items() if names]
    if problems:
        raise UserError(
            f"{path} is no detector of this protocol and data: {'; '.join(problems)}; give the --protocol that trained "
            "it."
        )
    return {name: value for name, value in given.items() if name in held}


def load_whole_detector(model: nn.Module, checkpoint: dict[str, Any], path: str) -> None:
    """Load every tensor of a detector from a file in Detectron2's format (``--eval-only``).

    Args:
        model: from ``build_detector``.
        checkpoint: ``{"model": name -> tensor or array}``.
        path: of the file, for messages.

    Raises:
        UserError: see ``check_detector``.
    """
    model.load_state_dict(model.state_dict() | check_detector(model, checkpoint, path))


def prove_backbone(model: nn.Module, checkpoint: dict[str, Any]) -> int:
    """Prove by SHA-256 fingerprints that every tensor of the model's ResNet is the checkpoint's.

    Covers ``stem`` and ``res2`` to ``res5`` wherever the model keeps them (C4: res5 in ``roi_heads``).

    Args:
        model: a detector on any device, before its first step.
        checkpoint: what was loaded, as for ``load_weights``.

    Returns:
        The number of tensors proven: 265 of a ResNet-50, 100 of a ResNet-18.

    Raises:
        RunFailed: a backbone tensor is not in the file or differs from it; the first names are listed.
    """
    expected, held = _bare_tensors(checkpoint), backbone_tensors(model)
    unproven = [
        name
        for name, tensor in held.items()
        if name not in expected or fingerprint(tensor) != fingerprint(expected[name])
    ]
    if unproven or len(held) not in TENSORS:
        names = ", ".join(unproven[:5]) or "none of its own names"
        raise RunFailed(
            f"{len(held) - len(unproven)} of {len(held)} backbone tensors of the detector are the file's, not all of a "
            f"ResNet's (others: {names}); training would start from other weights than asked, so it was stopped"
        )
    return len(held)


def _bare_tensors(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    return {_bare(name): torch.as_tensor(value) for name, value in checkpoint["model"].items() if _bare(name)}


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
