"""The checkpoint layouts in the wild: where each keeps the backbone, and how to recognise it.

An *address* is what precedes the ResNet's own names in a file, once wrappers and containers are cut (``finding.py``):
``encoder_q`` or ``teacher.backbone``, say. ``LAYOUTS`` says whose address that is.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """One source of checkpoints.

    Attributes:
        name: of ``--layout``.
        source: for people.
        online, momentum: regular expressions of the two branches' addresses; None where there is no such branch.
        signs: facts (see ``finding.facts_of``) that tell it from others with the same addresses; the most signs win.
        method: the pre-training method, where the layout belongs to one.
        epoch: where the number of *completed* epochs stands, and what to add to it; None where it is not recorded
            or not defined. Lightning's own ``epoch`` is 0-based or 1-based with its version, so its progress counter
            is read.
        total: where the planned number of epochs stands, the first that exists.
        naming: of the tensors, where the layout has one of its own.
        needs_sign: whether its address alone is not enough, because others use it too.
    """

    name: str
    source: str
    online: str
    momentum: str | None = None
    signs: tuple[str, ...] = ()
    method: str | None = None
    epoch: tuple[str, int] | None = None
    total: tuple[str, ...] = ()
    naming: str | None = None
    needs_sign: bool = False


_LIGHTNING_EPOCH = ("loops.fit_loop.epoch_progress.current.processed", 0)
_LIGHTNING_TOTAL = ("hyper_parameters.max_epochs", "hyper_parameters.epochs")
_LIGHTLY_SIGNS = ("in:state_dict", "key:pytorch-lightning_version", "root:projection_head", "naming:numbered")
_AVERAGED = r"(state_dict_ema|model_ema|ema)"

LAYOUTS = (
    Layout(
        "pretrain", "our pretrain/run.py", "encoder", "momentum_encoder",
        signs=("key:format_version", "key:rng", "root:momentum_projector"), epoch=("epoch", 0), total=("total_epochs",),
        needs_sign=True,
    ),
    Layout(
        "pretrain-backbone", "our backbone.safetensors", "", signs=("metadata:branch", "metadata:total_epochs"),
        needs_sign=True,
    ),
    Layout("torchvision", "torchvision, timm, Barlow Twins / VICReg resnet50.pth, DINO backbone", "", _AVERAGED),
    Layout(
        "swav", "SwAV", "", signs=("root:projection_head", "root:prototypes"), method="swav", epoch=("epoch", 0),
    ),
    Layout("moco", "MoCo v1 / v2", "encoder_q", "encoder_k", method="moco", epoch=("epoch", 0)),
    Layout(
        "mocov3", "MoCo v3", "base_encoder", "momentum_encoder", signs=("root:base_encoder",), method="mocov3",
        epoch=("epoch", 0), needs_sign=True,
    ),
    Layout("simsiam", "SimSiam, MEC, Matrix-SSL", "encoder", "teacher", epoch=("epoch", 0), signs=("in:state_dict",)),
    Layout(
        "pycontrast", "PyContrast / InfoMin", "encoder", r"model_ema(\.encoder)?", signs=("in:model", "key:opt"),
        epoch=("epoch", 0), total=("opt.epochs",),
    ),
    Layout(
        "dino", "DINO", r"student(\.backbone)?", r"teacher(\.backbone)?", method="dino", epoch=("epoch", 0),
        total=("args.epochs",),
    ),
    Layout(
        "solo-learn", "solo-learn (Lightning)", "backbone|encoder", "momentum_backbone|momentum_encoder",
        signs=("in:state_dict", "key:pytorch-lightning_version", "root:momentum_backbone", "root:classifier"),
        epoch=_LIGHTNING_EPOCH, total=_LIGHTNING_TOTAL,
    ),
    Layout(
        "barlow-twins", "Barlow Twins, VICReg", "backbone", signs=("in:model", "raw:module.backbone"),
        epoch=("epoch", 0),
    ),
    Layout(
        "lightly", "lightly (Lightning)", "backbone|student_backbone", "backbone_momentum|teacher_backbone",
        signs=(*_LIGHTLY_SIGNS, "root:backbone_momentum", "root:teacher_backbone"),
        epoch=_LIGHTNING_EPOCH, total=_LIGHTNING_TOTAL,
    ),
    # Its ImageNet benchmarks of MoCo v2, DINO and TiCo call the averaged encoder ``backbone``.
    Layout(
        "lightly-averaged", "lightly's MoCo v2, DINO and TiCo benchmarks", "query_backbone|student_backbone",
        "backbone",
        signs=(*_LIGHTLY_SIGNS, "root:query_backbone", "root:student_backbone"),
        epoch=_LIGHTNING_EPOCH, total=_LIGHTNING_TOTAL, needs_sign=True,
    ),
    Layout(
        "mmselfsup", "MMSelfSup / OpenSelfSup", r"backbone|encoder_q\.0|online_net\.0",
        r"encoder_k\.0|target_net\.0",
        signs=("in:state_dict", "key:meta", "root:neck", "root:head"), epoch=("meta.epoch", 0),
    ),
    Layout(
        "vissl", "VISSL", r"(?!(.*\.)?moco_encoder\.)(.*\.)?_feature_blocks",
        r"(.*\.)?moco_encoder\.(.*\.)?_feature_blocks",
        signs=("key:classy_state_dict",), epoch=("train_phase_idx", 1),
    ),
    Layout("msra", "MSRA's R-50.pkl, with Caffe2's names", "", naming="caffe2"),
    Layout("detectron2", "Detectron2, or a file of this converter", "", naming="detectron2", signs=("key:__author__",)),
)  # fmt: skip
BY_NAME = {layout.name: layout for layout in LAYOUTS}
