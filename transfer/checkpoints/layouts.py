"""The checkpoint layouts in the wild: where each keeps the backbone, and how to recognise it.

An *address* is what precedes the ResNet's own names in a file, once wrappers and containers are cut (``finding.py``):
``encoder_q`` or ``teacher.backbone``, say. ``LAYOUTS`` says whose address that is. Which method trained it is another
question (``signatures.py``): many projects share an address.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """One source of checkpoints.

    Attributes:
        name: of ``--layout``.
        source: for people.
        online, momentum: regular expressions of the two branches' addresses; None where there is no such branch.
        needs: facts (see ``finding.facts_of``) that must all hold, for an address that others use too.
        any_of: facts of which one must hold, if there are any here.
        signs: facts that tell it from others with the same address; the layout with the most facts wins.
        epoch: where the number of *completed* epochs stands, and what to add to it (1 for projects that count from 0);
            None where it is not recorded or not defined. A file of Lightning is never read by its ``epoch``, which is
            0-based or 1-based with its version, but by its progress counter.
        total: where the planned number of epochs stands, the first that exists.
        naming: of the tensors, where the layout has one of its own.
    """

    name: str
    source: str
    online: str | None
    momentum: str | None = None
    needs: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()
    epoch: tuple[str, int] | None = None
    total: tuple[str, ...] = ()
    naming: str | None = None


LIGHTNING = "key:pytorch-lightning_version"
LIGHTNING_EPOCH = "loops.fit_loop.epoch_progress.current.processed"
LIGHTNING_TOTAL = ("hyper_parameters.max_epochs", "hyper_parameters.epochs")
_COUNTED = ("epoch", 0)  # saved as the number of completed epochs
_FROM_0 = ("epoch", 1)  # saved as the index of the last epoch, which starts at 0
_OPTIONS = ("args.epochs", "opt.epochs")
_OURS = ("key:format_version", "key:rng", "root:momentum_projector")
_LIGHTLY_SIGNS = ("in:state_dict", LIGHTNING, "root:projection_head", "naming:numbered")
_AVERAGED = r"(state_dict_ema|model_ema|ema|ema_state_dict)"
_LIGHTLY_TRAIN = r"embedding_model\.wrapped_model\.(_features|_model)"

LAYOUTS = (
    Layout(
        "pretrain", "our pretrain/run.py", "encoder", "momentum_encoder", any_of=_OURS, signs=_OURS, epoch=_COUNTED,
        total=("total_epochs",),
    ),
    Layout(
        "pretrain-backbone", "our backbone.safetensors", "", needs=("metadata:branch", "metadata:total_epochs"),
        epoch=_COUNTED, total=("total_epochs",),
    ),
    Layout("torchvision", "torchvision, timm, Barlow Twins / VICReg resnet50.pth, DINO backbone", "", _AVERAGED),
    Layout(
        "torchvision-detection", "torchvision's detectors (Faster, Mask and Keypoint R-CNN, RetinaNet)",
        r"backbone\.body",
    ),
    Layout("huggingface", "Hugging Face transformers' ResNet", r"(resnet)?", naming="huggingface"),
    Layout(
        "swav", "SwAV, DeepCluster-v2, SeLa-v2", "", any_of=("root:projection_head", "root:prototypes"),
        signs=("root:projection_head", "root:prototypes"), epoch=_COUNTED, total=LIGHTNING_TOTAL,
    ),
    Layout(
        "moco", "MoCo v1 / v2, HCSC, MSF, SlotCon", "encoder_q", "encoder_[kt]", epoch=_COUNTED, total=_OPTIONS,
    ),
    Layout("ressl", "ReSSL", r"encoder_q\.net", r"encoder_k\.net", epoch=_COUNTED),
    Layout(
        "mocov3", "MoCo v3", "base_encoder", "momentum_encoder", needs=("root:base_encoder",), epoch=_COUNTED,
    ),
    Layout("simsiam", "SimSiam, MEC, Matrix-SSL", "encoder", "teacher", epoch=_COUNTED, signs=("in:state_dict",)),
    Layout(
        "pycontrast", "PyContrast / InfoMin", "encoder", r"model_ema(\.encoder)?", signs=("in:model", "key:opt"),
        epoch=_COUNTED, total=_OPTIONS,
    ),
    Layout(
        "pixpro", "PixPro, SoCo", "encoder", "encoder_k", needs=("root:encoder", "root:encoder_k"), signs=("in:model",),
        epoch=_COUNTED, total=_OPTIONS,
    ),
    Layout(
        "unigrad", "UniGrad", "encoder", "momentum_encoder", needs=("key:step", "key:F", "root:momentum_encoder"),
        epoch=_FROM_0,
    ),
    Layout(
        "dino", "DINO", r"student(\.backbone)?", r"teacher(\.backbone)?", epoch=_COUNTED, total=_OPTIONS,
    ),
    Layout(
        "byol-network", "BYOL-PyTorch (yaox12), lightning-bolts' BYOL", r"online_network\.encoder",
        r"target_network\.encoder", epoch=_COUNTED, total=("config.optimizer.total_epochs", *LIGHTNING_TOTAL),
    ),
    Layout(
        "lewel", "LEWEL", r"(online_net|encoder_q)\.backbone", r"(target_net|encoder_k)\.backbone", epoch=_COUNTED,
    ),
    Layout("care", "CARE", "student_encoder", "teacher_encoder", epoch=("start_epoch", 0)),
    Layout("simclrv2", "SimCLRv2-Pytorch (r50_1x_sk0.pth)", "resnet", naming="simclrv2"),
    Layout(
        "obow", "OBoW", r"feature_extractor", r"feature_extractor_teacher", naming="obow", epoch=_COUNTED,
    ),
    Layout("spark", "SparK, while it is pre-training", r"sparse_encoder\.sp_cnn", epoch=_FROM_0),
    Layout(
        "solo-learn", "solo-learn (Lightning)", "backbone|encoder", "momentum_backbone|momentum_encoder",
        signs=("in:state_dict", LIGHTNING, "root:momentum_backbone", "root:classifier"),
        epoch=(LIGHTNING_EPOCH, 0), total=LIGHTNING_TOTAL,
    ),
    Layout(
        "barlow-twins", "Barlow Twins, VICReg", "backbone", signs=("in:model", "raw:module.backbone"), epoch=_COUNTED,
    ),
    Layout(
        "twist", "TWIST", "backbone", r"teacher\.backbone|teacher_backbone",
        needs=("key:model", "key:backbone", "key:args", "root:projection_head"), epoch=_FROM_0, total=_OPTIONS,
    ),
    Layout(
        "lightly", "lightly (Lightning)", "backbone|student_backbone", "backbone_momentum|teacher_backbone",
        signs=(*_LIGHTLY_SIGNS, "root:backbone_momentum", "root:teacher_backbone"),
        epoch=(LIGHTNING_EPOCH, 0), total=LIGHTNING_TOTAL,
    ),
    # Its ImageNet benchmarks of MoCo v2, DINO and TiCo call the averaged encoder ``backbone``.
    Layout(
        "lightly-averaged", "lightly's MoCo v2, DINO and TiCo benchmarks", "query_backbone|student_backbone",
        "backbone", any_of=(*_LIGHTLY_SIGNS, "root:query_backbone", "root:student_backbone"),
        signs=(*_LIGHTLY_SIGNS, "root:query_backbone", "root:student_backbone"),
        epoch=(LIGHTNING_EPOCH, 0), total=LIGHTNING_TOTAL,
    ),
    Layout(
        "lightly-train", "lightly-train (Lightning)", rf"((student|query_encoder)[_.])?{_LIGHTLY_TRAIN}",
        rf"(teacher|key_encoder)[_.]{_LIGHTLY_TRAIN}", epoch=(LIGHTNING_EPOCH, 0), total=LIGHTNING_TOTAL,
    ),
    Layout(
        "mmselfsup", "MMSelfSup / OpenSelfSup / MMPretrain", r"backbone|encoder_q\.0|online_net\.0",
        r"encoder_k\.0|target_net\.0|momentum_encoder\.0|ema_state_dict\.backbone",
        signs=("in:state_dict", "key:meta", "root:neck", "root:head"), epoch=("meta.epoch", 0),
    ),
    Layout(
        "vissl", "VISSL", r"(?!(.*\.)?moco_encoder\.)(.*\.)?_feature_blocks",
        r"(.*\.)?moco_encoder\.(.*\.)?_feature_blocks",
        signs=("key:classy_state_dict",), epoch=("train_phase_idx", 1),
    ),
    Layout("msra", "MSRA's R-50.pkl, with Caffe2's names", "", naming="caffe2"),
    Layout(
        "detectron2", "Detectron2, or a file of this converter", "(modelStudent)?", "modelTeacher", naming="detectron2",
        signs=("key:__author__",),
    ),
)  # fmt: skip
BY_NAME = {layout.name: layout for layout in LAYOUTS}
