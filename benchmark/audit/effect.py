"""Which settings of a Detectron2 config decide a result, and which are without effect in a given one."""

from fnmatch import fnmatchcase

from benchmark.audit.settings import ABSENT, Settings, in_one_form

# Where a run computes, what it prints, from which weights it starts: no part of a protocol.
NOT_COMPARED = (
    *("OUTPUT_DIR", "SEED", "VERSION", "VIS_PERIOD", "CUDNN_BENCHMARK", "GLOBAL.HACK", "FLOAT32_PRECISION"),
    *("MODEL.WEIGHTS", "MODEL.DEVICE", "DATALOADER.NUM_WORKERS", "SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD"),
    *("TEST.EXPECTED_RESULTS", "TEST.KEYPOINT_OKS_SIGMAS", "DATASETS.*", "MODEL.ROI_HEADS.NUM_CLASSES"),
    *("INPUT.MASK_FORMAT",),
)
# The input convention belongs to the weights, not to the protocol; it is judged by itself.
CONVENTION = ("INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "MODEL.RESNETS.STRIDE_IN_1X1")
NORMS = ("MODEL.RESNETS.NORM", "MODEL.FPN.NORM", "MODEL.ROI_BOX_HEAD.NORM", "MODEL.ROI_MASK_HEAD.NORM")
SYNCHRONISED = ("SyncBN", "naiveSyncBN", "nnSyncBN")


def without_effect(key: str, settings: Settings) -> bool:
    """Say whether `key` changes nothing under these settings: a switch is off, or another architecture reads it."""
    return any(fnmatchcase(key, pattern) for pattern in _idle(settings))


def _idle(settings: Settings) -> list[str]:
    """Return patterns of the keys that nothing reads under these settings."""
    get = settings.get
    idle = ["MODEL.RETINANET.*", "MODEL.PANOPTIC_FPN.*", "MODEL.SEM_SEG_HEAD.*"]
    if get("MODEL.META_ARCHITECTURE") != "GeneralizedRCNN":
        idle = []
    if not get("MODEL.KEYPOINT_ON"):
        idle += ["MODEL.ROI_KEYPOINT_HEAD.*"]
    if get("MODEL.ROI_HEADS.NAME") != "CascadeROIHeads":
        idle += ["MODEL.ROI_BOX_CASCADE_HEAD.*"]
    if not get("MODEL.MASK_ON"):
        idle += ["MODEL.ROI_MASK_HEAD.*"]
    if "fpn" not in str(get("MODEL.BACKBONE.NAME")):
        idle += ["MODEL.FPN.*"]
    if str(get("MODEL.ROI_HEADS.NAME")).startswith("Res5"):  # its box head is res5 and one linear layer
        idle += [f"MODEL.ROI_BOX_HEAD.{part}" for part in ("NAME", "NORM", "CONV_DIM", "FC_DIM", "NUM_CONV", "NUM_FC")]
        idle += [f"MODEL.ROI_MASK_HEAD.POOLER_{part}" for part in ("RESOLUTION", "SAMPLING_RATIO", "TYPE")]
    if not get("TEST.AUG.ENABLED"):
        idle += ["TEST.AUG.*"]
    if not get("SOLVER.CLIP_GRADIENTS.ENABLED"):
        idle += ["SOLVER.CLIP_GRADIENTS.[CVN]*"]
    if not get("INPUT.CROP.ENABLED"):
        idle += ["INPUT.CROP.[ST]*"]
    if not get("TEST.PRECISE_BN.ENABLED"):
        idle += ["TEST.PRECISE_BN.N*"]
    if not get("MODEL.LOAD_PROPOSALS"):
        idle += ["DATASETS.PRECOMPUTED*", "DATASETS.PROPOSAL*"]
    if get("DATALOADER.SAMPLER_TRAIN", "TrainingSampler") == "TrainingSampler":
        idle += ["DATALOADER.REPEAT_*", "DATALOADER.RANDOM_SUBSET_RATIO"]
    if get("SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR") == "WarmupMultiStepLR":
        idle += ["SOLVER.BASE_LR_END", "SOLVER.NUM_DECAYS", "SOLVER.RESCALE_INTERVAL"]
    if not get("MODEL.ROI_BOX_HEAD.USE_FED_LOSS"):
        idle += ["MODEL.ROI_BOX_HEAD.FED_LOSS*"]
    if not any(get("MODEL.RESNETS.DEFORM_ON_PER_STAGE") or ()):
        idle += ["MODEL.RESNETS.DEFORM_MODULATED", "MODEL.RESNETS.DEFORM_NUM_GROUPS"]
    return idle


def compared(key: str) -> bool:
    """Say whether a setting is part of what two runs of one protocol must share."""
    return key not in CONVENTION and not any(fnmatchcase(key, pattern) for pattern in NOT_COMPARED)


def meaning(key: str, settings: Settings) -> object:
    """Return the value of `key` as it acts: all synchronised norms are one, decay of biases follows the decay."""
    value = in_one_form(settings.get(key, ABSENT))
    if key in NORMS and value in SYNCHRONISED:
        return "SyncBN"
    if key == "SOLVER.WEIGHT_DECAY_BIAS" and value in (None, ABSENT, settings.get("SOLVER.WEIGHT_DECAY")):
        return "as SOLVER.WEIGHT_DECAY"
    return value
