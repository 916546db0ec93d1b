"""Every setting of Detectron2, and what becomes of it here: honoured, decided by something else, or refused.

A setting that is accepted, hashed and recorded but changes nothing would make two equal runs look different. So what
this suite does not do is refused, key by key: ``REFUSED`` lists settings that keep Detectron2's default, and ``NEEDS``
those that mean something only beside another one. All others are read by the code that builds, trains and evaluates
the detector (a test walks through all keys).
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from detectron2.config import CfgNode, get_cfg

from benchmark.core.errors import UserError
from transfer.protocols.files import leaves

# Settings that KEY VALUE may not touch, because something else decides them.
DECIDED_BY = {
    "SOLVER.IMS_PER_BATCH": "--ims-per-batch, which rescales lr, steps and warm-up with it",
    "SOLVER.AMP.ENABLED": "--precision",
    "SOLVER.CHECKPOINT_PERIOD": "--checkpoint-every",
    "SOLVER.REFERENCE_WORLD_SIZE": "--ims-per-batch, because it would rescale the schedule silently",
    "MODEL.WEIGHTS": "--weights",
    "MODEL.DEVICE": "--device",
    "MODEL.ROI_HEADS.NUM_CLASSES": "--data, whose classes are counted",
    "INPUT.MASK_FORMAT": "--data, whose masks are looked at",
    "DATASETS.TRAIN": "--data",
    "DATASETS.TEST": "--data",
    "DATALOADER.NUM_WORKERS": "--workers",
    "OUTPUT_DIR": "--output",
    "SEED": "--seed",
}
# A key, or all keys that begin with a name ending in a full stop -> why it keeps Detectron2's default.
REFUSED = {
    "VERSION": "it is the version of Detectron2's config files",
    "GLOBAL.HACK": "nothing reads it",
    "VIS_PERIOD": "pictures are drawn once, after the evaluation",
    "MODEL.META_ARCHITECTURE": "the protocols are those of Mask and Faster R-CNN",
    "MODEL.RETINANET.": "it belongs to RetinaNet, which is not among the protocols",
    "MODEL.SEM_SEG_HEAD.": "semantic segmentation is not among the protocols",
    "MODEL.PANOPTIC_FPN.": "panoptic segmentation is not among the protocols",
    "MODEL.KEYPOINT_ON": "keypoints are not among the protocols",
    "MODEL.ROI_KEYPOINT_HEAD.": "keypoints are not among the protocols",
    "TEST.KEYPOINT_OKS_SIGMAS": "keypoints are not among the protocols",
    "MODEL.LOAD_PROPOSALS": "the regions come from the detector's own RPN",
    "MODEL.PROPOSAL_GENERATOR.NAME": "the regions come from the detector's own RPN",
    "DATASETS.PROPOSAL_FILES_TRAIN": "the regions come from the detector's own RPN",
    "DATASETS.PROPOSAL_FILES_TEST": "the regions come from the detector's own RPN",
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN": "the regions come from the detector's own RPN",
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST": "the regions come from the detector's own RPN",
    "MODEL.ANCHOR_GENERATOR.NAME": "boxes are not rotated here",
    "MODEL.ANCHOR_GENERATOR.ANGLES": "boxes are not rotated here",
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": "no pre-training makes weights of deformable convolutions",
    "MODEL.RESNETS.DEFORM_MODULATED": "no pre-training makes weights of deformable convolutions",
    "MODEL.RESNETS.DEFORM_NUM_GROUPS": "no pre-training makes weights of deformable convolutions",
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS": "it needs the class frequencies of LVIS",
    "MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER": "it needs the class frequencies of LVIS",
    "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES": "it needs the class frequencies of LVIS",
    "DATALOADER.SAMPLER_TRAIN": "the order of images is a function of --seed, so that runs resume exactly",
    "DATALOADER.REPEAT_THRESHOLD": "no image is repeated inside an epoch",
    "DATALOADER.REPEAT_SQRT": "no image is repeated inside an epoch",
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": "the epochs of a record are counted over the images that have an object",
    "SOLVER.NUM_DECAYS": "it belongs to a schedule that is not among the protocols",
    "TEST.EVAL_PERIOD": "the last state alone is evaluated, never the best one on the test images",
    "TEST.EXPECTED_RESULTS": "results are recorded and never compared with an expectation",
    "TEST.AUG.": "images are tested once, at one size",
}
# A key, or a beginning as above -> (what must hold for it to mean anything, the same in words).
NEEDS: dict[str, tuple[Callable[[CfgNode], bool], str]] = {
    "SOLVER.STEPS": (
        lambda cfg: "MultiStep" in cfg.SOLVER.LR_SCHEDULER_NAME,
        "SOLVER.LR_SCHEDULER_NAME WarmupMultiStepLR",
    ),
    "SOLVER.GAMMA": (
        lambda cfg: "MultiStep" in cfg.SOLVER.LR_SCHEDULER_NAME,
        "SOLVER.LR_SCHEDULER_NAME WarmupMultiStepLR",
    ),
    "SOLVER.BASE_LR_END": (
        lambda cfg: "Cosine" in cfg.SOLVER.LR_SCHEDULER_NAME,
        "SOLVER.LR_SCHEDULER_NAME WarmupCosineLR",
    ),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": (
        lambda cfg: cfg.SOLVER.CLIP_GRADIENTS.ENABLED,
        "SOLVER.CLIP_GRADIENTS.ENABLED True",
    ),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": (
        lambda cfg: cfg.SOLVER.CLIP_GRADIENTS.ENABLED,
        "SOLVER.CLIP_GRADIENTS.ENABLED True",
    ),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": (
        lambda cfg: cfg.SOLVER.CLIP_GRADIENTS.ENABLED and cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE == "norm",
        "SOLVER.CLIP_GRADIENTS.ENABLED True and SOLVER.CLIP_GRADIENTS.CLIP_TYPE norm",
    ),
    "SOLVER.WARMUP_FACTOR": (lambda cfg: cfg.SOLVER.WARMUP_ITERS > 0, "SOLVER.WARMUP_ITERS above 0"),
    "SOLVER.WARMUP_METHOD": (lambda cfg: cfg.SOLVER.WARMUP_ITERS > 0, "SOLVER.WARMUP_ITERS above 0"),
    "SOLVER.RESCALE_INTERVAL": (lambda cfg: cfg.SOLVER.WARMUP_ITERS > 0, "SOLVER.WARMUP_ITERS above 0"),
    "TEST.PRECISE_BN.NUM_ITER": (lambda cfg: cfg.TEST.PRECISE_BN.ENABLED, "TEST.PRECISE_BN.ENABLED True"),
    "INPUT.CROP.TYPE": (lambda cfg: cfg.INPUT.CROP.ENABLED, "INPUT.CROP.ENABLED True"),
    "INPUT.CROP.SIZE": (lambda cfg: cfg.INPUT.CROP.ENABLED, "INPUT.CROP.ENABLED True"),
    "MODEL.FPN.": (lambda cfg: "fpn" in cfg.MODEL.BACKBONE.NAME, "a protocol with an FPN"),
    "MODEL.ROI_MASK_HEAD.": (lambda cfg: cfg.MODEL.MASK_ON, "MODEL.MASK_ON True"),
    "MODEL.ROI_BOX_CASCADE_HEAD.": (
        lambda cfg: cfg.MODEL.ROI_HEADS.NAME == "CascadeROIHeads",
        "MODEL.ROI_HEADS.NAME CascadeROIHeads",
    ),
}
# Heads that C4's RoI heads do not build: they share res5 instead.
_STANDARD_HEADS_ONLY = (
    "MODEL.ROI_BOX_HEAD.NAME", "MODEL.ROI_BOX_HEAD.NUM_FC", "MODEL.ROI_BOX_HEAD.FC_DIM", "MODEL.ROI_BOX_HEAD.NUM_CONV",
    "MODEL.ROI_BOX_HEAD.CONV_DIM", "MODEL.ROI_BOX_HEAD.NORM", "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES",
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO",
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE",
)  # fmt: skip


# What nothing reads as long as the refused settings keep their values.
_OF_OTHER_DETECTORS = (
    "MODEL.RETINANET.", "MODEL.SEM_SEG_HEAD.", "MODEL.PANOPTIC_FPN.", "MODEL.ROI_KEYPOINT_HEAD.", "TEST.KEYPOINT_OKS",
    "MODEL.ROI_BOX_HEAD.FED_LOSS", "MODEL.RESNETS.DEFORM_", "MODEL.ANCHOR_GENERATOR.ANGLES",
    "DATASETS.PRECOMPUTED_PROPOSAL", "DATALOADER.REPEAT_", "SOLVER.NUM_DECAYS",
)  # fmt: skip


def acts(cfg: CfgNode, key: str) -> bool:
    """Say whether a setting of `cfg` changes anything in a run with the other settings as they are."""
    need = entry_for(NEEDS, key)
    if key.startswith(_OF_OTHER_DETECTORS) or (need is not None and not need[0](cfg)):
        return False
    if key.startswith("TEST.AUG.") and key != "TEST.AUG.ENABLED":
        return bool(cfg.TEST.AUG.ENABLED)
    return not (key in _STANDARD_HEADS_ONLY and "Res5" in cfg.MODEL.ROI_HEADS.NAME)


def entry_for(table: Mapping[str, Any], key: str) -> Any:
    """Return a table's entry for a setting: of the key itself, or of the beginning that covers it; None without."""
    if key in table:
        return table[key]
    return next((value for start, value in table.items() if start.endswith(".") and key.startswith(start)), None)


def check_refused(cfg: CfgNode, where: str) -> None:
    """Raise ``UserError`` when a setting of ``REFUSED`` is not Detectron2's default; `where` names who set it."""
    default, found = leaves(get_cfg()), leaves(cfg)
    for key, value in found.items():
        why = entry_for(REFUSED, key)
        if why is not None and value != default[key]:
            raise UserError(f"{where} sets {key} to {value!r}, which this suite does not do: {why}; take it out.")


def check_needs(cfg: CfgNode, given: Mapping[str, Any]) -> None:
    """Raise ``UserError`` when one of the settings `given` by KEY VALUE would change nothing in this config."""
    for key in given:
        need = entry_for(NEEDS, key)
        if need is not None and not need[0](cfg):
            raise UserError(f"{key} changes nothing here: it needs {need[1]}; leave it out or give that as well.")
        if key in _STANDARD_HEADS_ONLY and "Res5" in cfg.MODEL.ROI_HEADS.NAME:
            raise UserError(f"{key} changes nothing here: the heads of a C4 detector share res5; leave it out.")


def honoured_value(cfg: CfgNode, key: str) -> Any:
    """Return a setting that some versions of Detectron2 lack, or None where this one does."""
    return attrgetter(key)(cfg) if key in leaves(cfg) else None
