"""A detection protocol and what a run changes in it -> the effective Detectron2 config.

A protocol is a YAML file of ``transfer/protocols``: everything but the data, the weights' input convention, the machine
and the seed. What a run ends up with is decided here, once, and frozen: nothing rescales it later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detectron2.config import CfgNode, get_cfg

import transfer.protocols.heads  # noqa: F401 - registers the head that the C4 protocols name
from benchmark.core.errors import UserError
from transfer.checkpoints.convention import InputConvention
from transfer.protocols.batch_rule import rescale_batch
from transfer.protocols.checks import check_run, check_schedule
from transfer.protocols.comparable import protocol_hash
from transfer.protocols.files import file_of, merge_file
from transfer.protocols.names import PROTOCOLS
from transfer.protocols.norms import check_norms, settle_norms
from transfer.protocols.overrides import apply_overrides, set_precision
from transfer.protocols.settings import check_needs, check_refused

if TYPE_CHECKING:
    from transfer.datasets.data import DetectionData


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
    cfg: CfgNode
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
    arch: str = "resnet50",
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
        arch: of the weights; ``resnet18`` puts that network into an FPN protocol in place of the ResNet-50.
        family, convention: of the weights, see ``backbone.Provenance``.
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
    cfg = get_cfg()
    path = file_of(name)
    merge_file(cfg, path)
    check_refused(cfg, f"the protocol {name}")
    task = _task_of(name, cfg, data)
    convention.apply(cfg)
    _set_arch(cfg, arch, name)
    _set_run(cfg, data, device=device, seed=seed, workers=workers, output=output)
    arithmetic = rescale_batch(cfg, ims_per_batch)
    if lr is not None:
        cfg.SOLVER.BASE_LR = float(lr)
    changed = set_precision(cfg, precision)
    changed |= apply_overrides(cfg, overrides)
    own_lr = changed.pop("SOLVER.BASE_LR", None)
    if own_lr is not None and lr is not None:
        raise UserError(f"the learning rate is given as {lr} and as SOLVER.BASE_LR {own_lr}; give one of them.")
    check_needs(cfg, changed)
    check_norms(cfg, family, device)
    settle_norms(cfg, world_size)
    check_schedule(cfg)
    check_run(cfg, task, world_size)
    cfg.freeze()
    chosen_by = "protocol" if lr is None and own_lr is None else "user"
    digest = protocol_hash(cfg, world_size)
    return Protocol(path.stem, task, cfg, changed, chosen_by, arithmetic, cfg.MODEL.RESNETS.NORM, digest)


def _task_of(name: str, cfg: CfgNode, data: "DetectionData | None") -> str:
    """Return the protocol's task; a file outside ``PROTOCOLS`` suits the data, or what its masks suggest."""
    task = PROTOCOLS.get(name) or (data.task if data else "coco" if cfg.MODEL.MASK_ON else "voc")
    if data and data.task != task:
        raise UserError(f"protocol {name} is for {task.upper()} data; start it by transfer/{task}.py.")
    return task


def _set_arch(cfg: CfgNode, arch: str, name: str) -> None:
    """Set the depth of the weights' network. Raises ``UserError`` where Detectron2 cannot build that detector."""
    if arch == "resnet50":
        return
    if arch != "resnet18" or "fpn" not in cfg.MODEL.BACKBONE.NAME:
        raise UserError(
            f"the weights are those of a {arch}, and protocol {name} takes a ResNet-50; an FPN protocol takes a "
            "ResNet-18 as well."
        )
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64


def _set_run(cfg: CfgNode, data: "DetectionData | None", *, device: str, seed: int, workers: int, output: str) -> None:
    cfg.MODEL.DEVICE, cfg.SEED, cfg.DATALOADER.NUM_WORKERS, cfg.OUTPUT_DIR = device, seed, workers, output
    if data is None:
        return
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = tuple(data.train), tuple(data.test)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(data.class_names)
    if data.mask_format != "none":
        cfg.INPUT.MASK_FORMAT = data.mask_format
