"""A detection protocol and what a run changes in it -> the effective Detectron2 config.

A protocol is a YAML file of ``transfer/protocols``: everything but the data, the weights' input convention, the machine
and the seed. What a run ends up with is decided here, once, and frozen: nothing rescales it later (pitfall 20).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchmark.core.errors import UserError, check_choice, nearest
from benchmark.core.files import sha256_of
from benchmark.core.options import load_yaml
from transfer.checkpoints.initialisation import DETECTRON2_RANDOM, RANDOM, InputConvention

if TYPE_CHECKING:  # Detectron2 takes seconds to import, and the names of the protocols are wanted before
    from detectron2.config import CfgNode

    from transfer.datasets.dataset import DetectionData

FOLDER = Path(__file__).resolve().parent
# Name -> task. The files base-*.yaml beside them are no protocols.
PROTOCOLS = {
    "coco-c4-1x": "coco",
    "coco-c4-2x": "coco",
    "coco-fpn-1x": "coco",
    "coco-fpn-2x": "coco",
    "coco-fpn-4conv-1x": "coco",
    "voc-c4-24k": "voc",
    "embedded": "coco",
    "embedded-voc": "voc",
}
PRECISIONS = ("fp32", "bf16")

NORM_OF = {
    "MODEL.RESNETS.NORM": "backbone",
    "MODEL.FPN.NORM": "FPN",
    "MODEL.ROI_BOX_HEAD.NORM": "box head",
    "MODEL.ROI_MASK_HEAD.NORM": "mask head",
}
NORMS = ("BN", "SyncBN", "naiveSyncBN", "naiveSyncBN_N", "nnSyncBN", "FrozenBN", "GN", "LN")
SYNCHRONISED = ("SyncBN", "naiveSyncBN")  # two words for statistics over the whole batch

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
# What two comparable runs may differ in: where, from what and on what they run, and the learning rate of each method.
NOT_COMPARED = {
    *(key for key in DECIDED_BY if key not in ("SOLVER.IMS_PER_BATCH", "SOLVER.AMP.ENABLED")),
    *("SOLVER.BASE_LR", "INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "MODEL.RESNETS.STRIDE_IN_1X1"),
    *("DATASETS.PROPOSAL_FILES_TRAIN", "DATASETS.PROPOSAL_FILES_TEST", "TEST.EVAL_PERIOD", "TEST.EXPECTED_RESULTS"),
    *("VIS_PERIOD", "CUDNN_BENCHMARK", "GLOBAL.HACK", "VERSION"),
}


@dataclass(frozen=True)
class Protocol:
    """A protocol as one run uses it.

    Attributes:
        name: one of ``PROTOCOLS``, or the stem of a file's name.
        task: ``coco`` or ``voc``.
        cfg: the effective Detectron2 config, frozen. ``SOLVER.AMP.ENABLED`` means bf16 autocast in training.
        overrides: what the user changed against the protocol: KEY VALUE pairs as Detectron2 reads them (sequences as
            lists), and ``precision`` where it differs. Neither the learning rate nor a rescaled batch are in it: the
            one has its own field in a record, the other changes the hash.
        lr_chosen_by: ``protocol`` or ``user``.
        arithmetic: one line for people per number that another batch size changed; empty when none was.
        norm: of the backbone, as it runs: ``BN``, ``naiveSyncBN``, ``FrozenBN`` ...
        hash: SHA-256 of the effective settings that runs in one table share. Seed, paths, data sets, device, number of
            processes, input convention and learning rate do not change it; batch size, schedule, sizes, architecture,
            norms and precision do.
    """

    name: str
    task: str
    cfg: "CfgNode"
    overrides: dict[str, Any]
    lr_chosen_by: str
    arithmetic: tuple[str, ...]
    norm: str
    hash: str


def resolve_protocol(
    name: str,
    *,
    family: str,
    convention: InputConvention,
    world_size: int = 1,
    device: str = "cpu",
    ims_per_batch: int | None = None,
    lr: float | None = None,
    precision: str | None = None,
    data: "DetectionData | None" = None,
    overrides: Sequence[str] = (),
    seed: int = 0,
    workers: int = 4,
    output: str = "",
) -> Protocol:
    """Return the protocol of a run, checked and frozen.

    In this order: Detectron2's defaults, the protocol's file, input convention, data, batch size (lr, steps, warm-up
    and PreciseBN with it), ``lr``, ``precision``, KEY VALUE pairs (taken literally, nothing is rescaled after them),
    norm by the number of processes.

    Args:
        name: one of ``PROTOCOLS`` or the path of a YAML file, such as a config written beside a run's outputs.
        family, convention: of the weights, see ``initialisation.Initialisation``.
        world_size: processes that train together.
        device: ``cpu`` or ``cuda``.
        ims_per_batch: images in a batch over all processes; None: the protocol's.
        lr: peak learning rate at the batch in use; None: the protocol's, rescaled with the batch. The KEY VALUE pair
            ``SOLVER.BASE_LR`` means the same.
        precision: ``fp32`` or ``bf16``; None: the protocol's.
        data: decides data set names, number of classes and mask format; None leaves the protocol's.
        overrides: KEY, VALUE, KEY, VALUE ... as Detectron2's users give them.
        seed, workers, output: of the run; ``workers`` read images for one process.

    Raises:
        UserError: whatever of this the user asked for cannot be done or would silently mean something else.
    """
    from detectron2.config import get_cfg

    import transfer.detection.model  # noqa: F401  registers the head that the C4 protocols name (pitfall 13)

    cfg = get_cfg()
    path = _file_of(name)
    _merge_file(cfg, path)
    task = _task_of(name, cfg, data)
    convention.apply(cfg)
    _set_run(cfg, data, device=device, seed=seed, workers=workers, output=output)
    arithmetic = _rescale_batch(cfg, ims_per_batch)
    if lr is not None:
        cfg.SOLVER.BASE_LR = float(lr)
    changed = _set_precision(cfg, precision)
    changed |= _apply_overrides(cfg, overrides)
    own_lr = changed.pop("SOLVER.BASE_LR", None)
    if own_lr is not None and lr is not None:
        raise UserError(f"the learning rate is given as {lr} and as SOLVER.BASE_LR {own_lr}; give one of them.")
    _check_norms(cfg, family, device)
    _settle_norms(cfg, world_size)
    _check_schedule(cfg)
    _check_rest(cfg, task, world_size)
    cfg.freeze()
    chosen_by = "protocol" if lr is None and own_lr is None else "user"
    digest = _hash(cfg, world_size)
    return Protocol(path.stem, task, cfg, changed, chosen_by, arithmetic, cfg.MODEL.RESNETS.NORM, digest)


def _file_of(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    check_choice("--protocol", name, PROTOCOLS)
    return FOLDER / f"{name}.yaml"


def _task_of(name: str, cfg: "CfgNode", data: "DetectionData | None") -> str:
    """Return the protocol's task; a file outside ``PROTOCOLS`` suits the data, or what its masks suggest."""
    task = PROTOCOLS.get(name) or (data.task if data else "coco" if cfg.MODEL.MASK_ON else "voc")
    if data and data.task != task:
        raise UserError(f"protocol {name} is for {task.upper()} data; start it by transfer/{task}.py.")
    return task


def _set_run(
    cfg: "CfgNode", data: "DetectionData | None", *, device: str, seed: int, workers: int, output: str
) -> None:
    cfg.MODEL.DEVICE, cfg.SEED, cfg.DATALOADER.NUM_WORKERS, cfg.OUTPUT_DIR = device, seed, workers, output
    if data is None:
        return
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = tuple(data.train), tuple(data.test)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(data.class_names)
    if data.mask_format != "none":
        cfg.INPUT.MASK_FORMAT = data.mask_format


# Files


def load_protocol_file(path: str | Path) -> "CfgNode":
    """Read a protocol's YAML with what it inherits by ``_BASE_`` (a path relative to the file).

    Unlike Detectron2's reader it refuses a key given twice, of which the last would win (pitfall 16), in every file
    of the chain, and runs no code.

    Returns:
        The settings of the files alone, not merged into Detectron2's defaults.

    Raises:
        UserError: a file is missing, no YAML, holds a key twice, or inherits from itself.
    """
    from detectron2.config import CfgNode

    try:
        return CfgNode(_content(Path(path), ()))
    except AssertionError as error:  # yacs' word for a value that is no number, text, list or mapping
        raise UserError(f"{path}: {error}; write a number, a text or a list.") from None


def _content(path: Path, heirs: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in heirs:
        raise UserError(f"{path} inherits from itself by _BASE_; take that line out.")
    content = load_yaml(path)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path} is no protocol; it must hold Detectron2's settings as KEY: VALUE.")
    base = content.pop("_BASE_", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise UserError(f"_BASE_ in {path} is {base!r}; give the path of one file, relative to this one.")
    return _merged(_content(path.parent / base, (*heirs, path.resolve())), content)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _merge_file(cfg: "CfgNode", path: Path) -> None:
    known, loaded = leaves(cfg), load_protocol_file(path)
    for key, value in leaves(loaded).items():
        if key not in known:
            raise UserError(f"{path} sets {key!r}, but Detectron2 has no such setting{nearest(key, known)}")
        if value is None and known[key] is not None:  # yacs takes None for everything
            raise UserError(f"{path} leaves {key} empty; give it a value, such as {known[key]!r}.")
    try:
        cfg.merge_from_other_cfg(loaded)
    except ValueError as error:  # yacs names key, value and both types
        raise UserError(f"{path}: {error}; write it in the type of Detectron2's default.") from None
    if cfg.VERSION != 2:
        raise UserError(f"{path} is of config version {cfg.VERSION}; write it for version 2.")


def leaves(cfg: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return every setting of a config by its dotted name, such as ``{"SOLVER.BASE_LR": 0.02, ...}``."""
    found: dict[str, Any] = {}
    for key, value in cfg.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


class _Dumper(yaml.SafeDumper):
    """Writes tuples as Detectron2's own files do: ``(60000, 80000)``. As YAML lists, nested ones would not return."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value as often as it is there; YAML's references between settings help no reader."""
        return True


_Dumper.add_representer(tuple, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:str", repr(value)))


def dump(cfg: "CfgNode") -> str:
    """Return the whole config as YAML, to be written beside the outputs.

    Read back as a protocol under the same conditions it gives the same config: nothing is rescaled twice.
    """

    def plain(node: Mapping[str, Any]) -> dict[str, Any]:
        return {key: plain(value) if isinstance(value, dict) else value for key, value in node.items()}

    return yaml.dump(plain(cfg), Dumper=_Dumper, allow_unicode=True, width=120)


# What a run changes


def _rescale_batch(cfg: "CfgNode", ims_per_batch: int | None) -> tuple[str, ...]:
    """Divide batch and lr by k, multiply all counts of iterations by k (K. He, moco#11); return the arithmetic."""
    solver, reference = cfg.SOLVER, cfg.SOLVER.IMS_PER_BATCH
    if ims_per_batch is None or ims_per_batch == reference:
        return ()
    if ims_per_batch < 1:
        raise UserError(f"--ims-per-batch is {ims_per_batch}; it must be above 0.")
    k = Fraction(reference, ims_per_batch)
    counts = {"SOLVER.STEPS": "steps", "SOLVER.MAX_ITER": "iterations", "SOLVER.WARMUP_ITERS": "warm-up"}
    if cfg.TEST.PRECISE_BN.ENABLED:
        counts["TEST.PRECISE_BN.NUM_ITER"] = "PreciseBN"
    _check_divides(cfg, counts, ims_per_batch)
    factor = str(k) if k.denominator == 1 else f"({k})"
    lr = float(Fraction(str(solver.BASE_LR)) / k)  # decimal arithmetic: 0.02 / 4 is 0.005
    lines = [f"batch {reference} / {factor} = {ims_per_batch}", f"lr {solver.BASE_LR:g} / {factor} = {lr:g}"]
    solver.IMS_PER_BATCH, solver.BASE_LR = ims_per_batch, lr
    for key, word in counts.items():
        before = attrgetter(key)(cfg)
        after = tuple(int(n * k) for n in before) if isinstance(before, tuple) else int(before * k)
        cfg.merge_from_list([key, after])
        if before != ():
            lines.append(f"{word} {_numbers(before)} x {factor} = {_numbers(after)}")
    return tuple(lines)


def _check_divides(cfg: "CfgNode", counts: Mapping[str, str], ims_per_batch: int) -> None:
    reference = cfg.SOLVER.IMS_PER_BATCH
    numbers = {key: value if isinstance(value := attrgetter(key)(cfg), tuple) else (value,) for key in counts}

    def fails(batch: int) -> list[str]:
        return [f"{counts[key]} {n}" for key, values in numbers.items() for n in values if n * reference % batch]

    if broken := fails(ims_per_batch):
        choices = ", ".join(str(batch) for batch in range(1, 2 * reference + 1) if not fails(batch))
        raise UserError(
            f"--ims-per-batch {ims_per_batch} would give no whole number of iterations for {broken[0]} "
            f"(x {Fraction(reference, ims_per_batch)}); take one of {choices}."
        )


def _numbers(value: int | tuple[int, ...]) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _set_precision(cfg: "CfgNode", precision: str | None) -> dict[str, Any]:
    """Set bf16 autocast or not; return ``{"precision": ...}`` if that is not the protocol's own."""
    if precision is None:
        return {}
    check_choice("--precision", precision, PRECISIONS)
    wanted = precision == "bf16"
    differs = wanted != cfg.SOLVER.AMP.ENABLED
    cfg.SOLVER.AMP.ENABLED = wanted
    return {"precision": precision} if differs else {}


def _apply_overrides(cfg: "CfgNode", words: Sequence[str]) -> dict[str, Any]:
    """Apply KEY VALUE pairs; return them as read, tuples as lists (as they come back from JSON)."""
    if len(words) % 2:
        raise UserError(f"KEY VALUE overrides come in pairs, but {len(words)} words are given, {words[-1]!r} the last.")
    given: dict[str, Any] = {}
    for key, value in zip(words[::2], words[1::2], strict=True):
        if key in given:
            raise UserError(f"{key} is given twice; give it once.")
        given[key] = _override(cfg, key, value)
    return given


def _override(cfg: "CfgNode", key: str, value: str) -> Any:
    known = leaves(cfg)
    if key in DECIDED_BY:
        raise UserError(f"{key} is not set by KEY VALUE; it follows from {DECIDED_BY[key]}.")
    if key not in known:
        raise UserError(f"Detectron2 has no setting {key!r}{nearest(key, known)}")
    try:
        cfg.merge_from_list([key, value])
    except ValueError:
        raise _wrong_type(key, value, known[key]) from None
    read = attrgetter(key)(cfg)
    if not _like(read, known[key]):
        raise _wrong_type(key, value, known[key])
    return list(read) if isinstance(read, tuple) else read


def _like(value: Any, example: Any) -> bool:
    """Say whether a value is of its example's type where yacs does not look: None, and what is inside a sequence."""
    if value is None or example is None:
        return example is None
    if not isinstance(value, tuple | list) or not example:
        return True
    return all(_kind(item) == _kind(example[0]) and _like(item, example[0]) for item in value)


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)


def _wrong_type(key: str, value: object, example: object) -> UserError:
    return UserError(f"{key} cannot be {value!r}; it needs a {type(example).__name__}, such as {example!r}.")


# Norms


def _check_norms(cfg: "CfgNode", family: str, device: str) -> None:
    for key in NORM_OF:
        if (norm := attrgetter(key)(cfg)) or key == "MODEL.RESNETS.NORM":  # the other places may go without
            check_choice(key, norm, NORMS)
    if device == "cpu" and any(attrgetter(key)(cfg) == "nnSyncBN" for key in NORM_OF):
        raise UserError("nnSyncBN runs on GPUs alone; write SyncBN, which becomes what this machine can run.")
    if family not in (RANDOM, DETECTRON2_RANDOM):
        return
    if cfg.MODEL.RESNETS.NORM == "FrozenBN":
        raise UserError(
            f"FrozenBN with --weights {family} would freeze statistics that no image was ever seen for, and the "
            "network would not train; take MODEL.RESNETS.NORM SyncBN."
        )
    if cfg.MODEL.BACKBONE.FREEZE_AT > 0:
        raise UserError(
            f"MODEL.BACKBONE.FREEZE_AT {cfg.MODEL.BACKBONE.FREEZE_AT} with --weights {family} would freeze untrained "
            "stages, their norms included; take MODEL.BACKBONE.FREEZE_AT 0."
        )


def _settle_norms(cfg: "CfgNode", world_size: int) -> None:
    """Put the norm that runs in place of SyncBN, everywhere.

    On one process it is plain BN: torch's synchronised one needs a GPU and a process group. On several it is
    Detectron2's naive one, as MoCo uses since 2020-11 ("SyncBN seems to cause larger variance for unknown reasons").
    """
    for key in NORM_OF:
        if attrgetter(key)(cfg) in SYNCHRONISED:
            cfg.merge_from_list([key, "BN" if world_size == 1 else "naiveSyncBN"])


def _hash(cfg: "CfgNode", world_size: int) -> str:
    """Hash what runs in one table share. Statistics over the whole batch are SyncBN, whatever computes them."""
    whole_batch = (*SYNCHRONISED, "BN") if world_size == 1 else SYNCHRONISED
    compared = {key: value for key, value in leaves(cfg).items() if key not in NOT_COMPARED}
    for key in NORM_OF:
        if compared[key] in whole_batch:
            compared[key] = "SyncBN"
    return sha256_of(compared)


# Checks


def _check_schedule(cfg: "CfgNode") -> None:
    solver, end = cfg.SOLVER, cfg.SOLVER.MAX_ITER
    if not (math.isfinite(solver.BASE_LR) and solver.BASE_LR > 0):
        raise UserError(f"the learning rate is {solver.BASE_LR}; it must be above 0.")
    if end < 1:
        raise UserError(f"SOLVER.MAX_ITER is {end}; it must be above 0.")
    if not 0 <= solver.WARMUP_ITERS < end:
        raise UserError(
            f"SOLVER.WARMUP_ITERS {solver.WARMUP_ITERS} is not below SOLVER.MAX_ITER {end}: the warm-up would "
            "never end; give SOLVER.WARMUP_ITERS as well."
        )
    check_choice("SOLVER.LR_SCHEDULER_NAME", solver.LR_SCHEDULER_NAME, ("WarmupMultiStepLR", "WarmupCosineLR"))
    if solver.LR_SCHEDULER_NAME != "WarmupMultiStepLR":
        return
    steps = solver.STEPS
    if not all(type(step) is int and step > 0 for step in steps) or list(steps) != sorted(set(steps)):
        raise UserError(f"SOLVER.STEPS is {steps}; it takes whole numbers above 0 that rise, such as (60000, 80000).")
    if steps and steps[-1] >= end:
        raise UserError(
            f"the last of SOLVER.STEPS {steps} is not below SOLVER.MAX_ITER {end}: the learning rate would not fall as "
            "the protocol says; give SOLVER.STEPS as well, '()' for none."
        )


def _check_rest(cfg: "CfgNode", task: str, world_size: int) -> None:
    if cfg.SOLVER.IMS_PER_BATCH % world_size:
        raise UserError(
            f"a batch of {cfg.SOLVER.IMS_PER_BATCH} images cannot be divided over {world_size} processes; "
            f"give --ims-per-batch a multiple of {world_size}."
        )
    if cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
        check_choice("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE, ("value", "norm"))
    if task == "voc" and cfg.MODEL.MASK_ON:
        raise UserError("VOC has no masks to learn from; take MODEL.MASK_ON False.")
    if cfg.MODEL.WEIGHTS:
        raise UserError(f"the protocol names MODEL.WEIGHTS {cfg.MODEL.WEIGHTS}; take it out and give --weights.")
    if cfg.SOLVER.REFERENCE_WORLD_SIZE:
        raise UserError("the protocol sets SOLVER.REFERENCE_WORLD_SIZE, which rescales silently; take it out.")


# For people


def describe(protocol: Protocol, data: "DetectionData") -> str:
    """Return what a run will do, a line each: protocol, norm, detector, batch, lr, iterations, sizes, tests."""
    cfg = protocol.cfg
    changed = ", ".join(f"{key} {value}" for key, value in protocol.overrides.items()) or "nothing"
    lines = {
        "protocol": f"{protocol.name} ({protocol.task.upper()}), settings {protocol.hash[:12]}",
        "changed": changed,
        "detector": _detector(cfg),
        "norm": _norms(cfg),
        "batch": f"{cfg.SOLVER.IMS_PER_BATCH} images, {'bf16 autocast' if cfg.SOLVER.AMP.ENABLED else 'fp32'}",
        "lr": f"{cfg.SOLVER.BASE_LR:g}, chosen by the {protocol.lr_chosen_by}; {_decay(cfg)}",
        "rescaled": "; ".join(protocol.arithmetic) or "nothing",
        "iterations": _length(cfg, data.train_images),
        "sizes": _sizes(cfg),
        "tests": _tests(cfg, data.test_images),
    }
    return "\n".join(f"{name:<11} {text}" for name, text in lines.items())


def _detector(cfg: "CfgNode") -> str:
    kind = "Mask R-CNN" if cfg.MODEL.MASK_ON else "Faster R-CNN"
    frozen = f"FREEZE_AT {cfg.MODEL.BACKBONE.FREEZE_AT}, {cfg.MODEL.ROI_HEADS.NUM_CLASSES} classes"
    if "fpn" not in cfg.MODEL.BACKBONE.NAME:
        extra = "an" if "ExtraNorm" in cfg.MODEL.ROI_HEADS.NAME else "no"
        return f"{kind} R{cfg.MODEL.RESNETS.DEPTH}-C4, {extra} extra norm after res5, {frozen}"
    head = cfg.MODEL.ROI_BOX_HEAD
    return f"{kind} R{cfg.MODEL.RESNETS.DEPTH}-FPN, box head of {head.NUM_CONV} conv and {head.NUM_FC} fc, {frozen}"


def _norms(cfg: "CfgNode") -> str:
    used = len(NORM_OF) - (not cfg.MODEL.MASK_ON) if "fpn" in cfg.MODEL.BACKBONE.NAME else 1
    return ", ".join(f"{attrgetter(key)(cfg) or 'none'} in {place}" for key, place in list(NORM_OF.items())[:used])


def _decay(cfg: "CfgNode") -> str:
    solver = cfg.SOLVER
    warm = f"warm-up over {solver.WARMUP_ITERS} iterations"
    if solver.LR_SCHEDULER_NAME == "WarmupCosineLR":
        return f"{warm}, then cosine to {solver.BASE_LR_END:g}"
    return f"{warm}, x {solver.GAMMA:g} at {_numbers(solver.STEPS)}" if solver.STEPS else f"{warm}, then constant"


def _length(cfg: "CfgNode", images: int) -> str:
    seen = cfg.SOLVER.MAX_ITER * cfg.SOLVER.IMS_PER_BATCH
    return (
        f"{cfg.SOLVER.MAX_ITER:,} x {cfg.SOLVER.IMS_PER_BATCH} images / {images:,} training images "
        f"= {seen / images:.1f} epochs"
    )


def _sizes(cfg: "CfgNode") -> str:
    size = cfg.INPUT
    train = f"train {_numbers(size.MIN_SIZE_TRAIN)} px on the short side, at most {size.MAX_SIZE_TRAIN} on the long"
    return f"{train}; test {size.MIN_SIZE_TEST}, at most {size.MAX_SIZE_TEST}"


def _tests(cfg: "CfgNode", images: int) -> str:
    rpn, precise = cfg.MODEL.RPN, cfg.TEST.PRECISE_BN
    return (
        f"{images:,} images, RPN {rpn.PRE_NMS_TOPK_TEST} before and {rpn.POST_NMS_TOPK_TEST} after NMS, "
        f"{cfg.TEST.DETECTIONS_PER_IMAGE} detections an image, "
        + (f"PreciseBN over {precise.NUM_ITER} batches before" if precise.ENABLED else "no PreciseBN")
    )
