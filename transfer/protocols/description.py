"""What a protocol does, for people, and the warnings that belong to it."""

from operator import attrgetter
from typing import TYPE_CHECKING

from detectron2.config import CfgNode, get_cfg

from transfer.protocols.batch_rule import numbers
from transfer.protocols.files import file_of, merge_file
from transfer.protocols.names import PROTOCOLS
from transfer.protocols.norms import NORM_OF
from transfer.protocols.resolve import Protocol

if TYPE_CHECKING:
    from transfer.datasets.data import DetectionData


MANY_EPOCHS = 100  # several times the longest of the protocols; training from scratch takes this many
USUAL_EPOCHS = 25  # of a 2x schedule on COCO


def describe_protocol(protocol: Protocol, data: "DetectionData") -> str:
    """Return what a run will do, a line each: protocol, norm, detector, batch, lr, iterations, sizes, tests."""
    cfg = protocol.cfg
    lines = {
        **_head(protocol),
        "norm": _norms(cfg),
        "batch": f"{cfg.SOLVER.IMS_PER_BATCH} images, {'bf16 autocast' if cfg.SOLVER.AMP.ENABLED else 'fp32'}",
        "lr": f"{cfg.SOLVER.BASE_LR:g}, chosen by the {protocol.lr_chosen_by}; {_decay(cfg)}",
        "rescaled": "; ".join(protocol.arithmetic) or "nothing",
        "iterations": _length(cfg, data.train_images),
        "sizes": _sizes(cfg),
        "tests": _tests(cfg, data.test_images),
    }
    return _as_lines(lines)


def describe_test(protocol: Protocol, data: "DetectionData") -> str:
    """Return what an evaluation without training will do, a line each: protocol, detector, tests."""
    return _as_lines({**_head(protocol), "tests": _tests(protocol.cfg, data.test_images)})


def in_short(name: str) -> str:
    """Return a protocol of ``PROTOCOLS`` in one line: detector, iterations, batch, learning rate."""
    cfg = get_cfg()
    merge_file(cfg, file_of(name))
    solver, detector = cfg.SOLVER, _detector(cfg).rpartition(", FREEZE_AT")[0]
    schedule = f"{solver.MAX_ITER:,} x {solver.IMS_PER_BATCH} images, lr {solver.BASE_LR:g}"
    return f"{PROTOCOLS[name].upper()}: {detector}; {schedule}"


def warnings_about(protocol: Protocol, data: "DetectionData") -> list[str]:
    """Return what a user should think about before training, a sentence each; nothing for the embedded set."""
    solver, found = protocol.cfg.SOLVER, []
    epochs = solver.MAX_ITER * solver.IMS_PER_BATCH / data.train_images
    if epochs > MANY_EPOCHS and data.name != "embedded":
        usual = max(1, round(USUAL_EPOCHS * data.train_images / solver.IMS_PER_BATCH))
        found.append(
            f"{solver.MAX_ITER:,} iterations are {epochs:,.0f} epochs over {data.train_images:,} images; a 2x schedule "
            f"on COCO has {USUAL_EPOCHS}, which would be SOLVER.MAX_ITER {usual:,} here (with SOLVER.STEPS and "
            "SOLVER.WARMUP_ITERS to suit)"
        )
    if protocol.cfg.TEST.DETECTIONS_PER_IMAGE > 100 and protocol.task == "coco":
        found.append("TEST.DETECTIONS_PER_IMAGE is above 100, and COCO's evaluation counts the best 100 of an image")
    return found


def _head(protocol: Protocol) -> dict[str, str]:
    changed = ", ".join(f"{key} {value}" for key, value in protocol.overrides.items()) or "nothing"
    return {
        "protocol": f"{protocol.name} ({protocol.task.upper()}), settings {protocol.hash[:12]}",
        "changed": changed,
        "detector": _detector(protocol.cfg),
    }


def _as_lines(lines: dict[str, str]) -> str:
    return "\n".join(f"{name:<11} {text}" for name, text in lines.items())


def _detector(cfg: CfgNode) -> str:
    kind = "Mask R-CNN" if cfg.MODEL.MASK_ON else "Faster R-CNN"
    frozen = f"FREEZE_AT {cfg.MODEL.BACKBONE.FREEZE_AT}, {cfg.MODEL.ROI_HEADS.NUM_CLASSES} classes"
    if "fpn" not in cfg.MODEL.BACKBONE.NAME:
        extra = "an" if "ExtraNorm" in cfg.MODEL.ROI_HEADS.NAME else "no"
        return f"{kind} R{cfg.MODEL.RESNETS.DEPTH}-C4, {extra} extra norm after res5, {frozen}"
    head = cfg.MODEL.ROI_BOX_HEAD
    return f"{kind} R{cfg.MODEL.RESNETS.DEPTH}-FPN, box head of {head.NUM_CONV} conv and {head.NUM_FC} fc, {frozen}"


def _norms(cfg: CfgNode) -> str:
    used = len(NORM_OF) - (not cfg.MODEL.MASK_ON) if "fpn" in cfg.MODEL.BACKBONE.NAME else 1
    return ", ".join(f"{attrgetter(key)(cfg) or 'none'} in {place}" for key, place in list(NORM_OF.items())[:used])


def _decay(cfg: CfgNode) -> str:
    solver = cfg.SOLVER
    warm = f"warm-up over {solver.WARMUP_ITERS} iterations"
    if solver.LR_SCHEDULER_NAME == "WarmupCosineLR":
        return f"{warm}, then cosine to {solver.BASE_LR_END:g}"
    return f"{warm}, x {solver.GAMMA:g} at {numbers(solver.STEPS)}" if solver.STEPS else f"{warm}, then constant"


def _length(cfg: CfgNode, images: int) -> str:
    seen = cfg.SOLVER.MAX_ITER * cfg.SOLVER.IMS_PER_BATCH
    return (
        f"{cfg.SOLVER.MAX_ITER:,} x {cfg.SOLVER.IMS_PER_BATCH} images / {images:,} training images "
        f"= {seen / images:.1f} epochs"
    )


def _sizes(cfg: CfgNode) -> str:
    size = cfg.INPUT
    train = f"train {numbers(size.MIN_SIZE_TRAIN)} px on the short side, at most {size.MAX_SIZE_TRAIN} on the long"
    return f"{train}; test {size.MIN_SIZE_TEST}, at most {size.MAX_SIZE_TEST}"


def _tests(cfg: CfgNode, images: int) -> str:
    rpn, precise = cfg.MODEL.RPN, cfg.TEST.PRECISE_BN
    return (
        f"{images:,} images, RPN {rpn.PRE_NMS_TOPK_TEST} before and {rpn.POST_NMS_TOPK_TEST} after NMS, "
        f"{cfg.TEST.DETECTIONS_PER_IMAGE} detections an image, "
        + (f"PreciseBN over {precise.NUM_ITER} batches before" if precise.ENABLED else "no PreciseBN")
    )
