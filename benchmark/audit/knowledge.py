"""What is known about single settings and about the traps of published configs, in sentences with their sources."""

from benchmark.audit.effect import CONVENTION, NORMS, SYNCHRONISED
from benchmark.audit.settings import ABSENT, Settings, equal, shown

# Key -> what a difference in it is known to do.
EFFECTS = {
    "INPUT.MAX_SIZE_TRAIN": "DetCo, OpenSelfSup, MMSelfSup and RegionCL set 1200 at C4; MoCo's config leaves 1333",
    "INPUT.MIN_SIZE_TRAIN": "the sizes of training images move AP by more than most methods differ",
    "SOLVER.MAX_ITER": "2x gains 1 to 2 AP over 1x at C4 and narrows differences between methods",
    "SOLVER.STEPS": "without the decays of the learning rate AP stays several points lower",
    "SOLVER.BASE_LR": "SwAV at C4 1x is 32.9 AP at 0.02 and 38.4 where the rate was searched; say how it was chosen",
    "SOLVER.WEIGHT_DECAY": "SoCo uses 2.5e-5; its figures are not comparable with 1e-4",
    "SOLVER.IMS_PER_BATCH": "the learning rate and the schedule have to follow the batch",
    "SOLVER.WARMUP_ITERS": "VISSL warms up for 50 iterations",
    "SOLVER.AMP.ENABLED": "mixed precision is part of the protocol; published figures are float32",
    "MODEL.BACKBONE.FREEZE_AT": "frozen stages keep the statistics of the pre-training (detectron2#2022)",
    "MODEL.RESNETS.NORM": "frozen norms made MoCo's weights diverge after 30 to 40 iterations (moco#40)",
    "MODEL.ROI_HEADS.NAME": "the extra norm after res5 is part of MoCo's C4 protocol (moco#121)",
    "MODEL.ROI_BOX_HEAD.NUM_CONV": "the 4conv1fc head is another protocol: MMSelfSup's 40.2 AP of MoCo v2 used it",
    "MODEL.ROI_BOX_HEAD.NUM_FC": "the 4conv1fc head is another protocol than the two-layer head",
    "MODEL.ROI_BOX_HEAD.NORM": "a norm in the heads is the 4conv family's (PyContrast, PixPro, MMSelfSup)",
    "MODEL.ROI_MASK_HEAD.NORM": "a norm in the heads is the 4conv family's (PyContrast, PixPro, MMSelfSup)",
    "TEST.PRECISE_BN.ENABLED": "MoCo computes the statistics anew before it evaluates",
    "TEST.AUG.ENABLED": "test-time augmentation adds points of AP to any method",
    "TEST.DETECTIONS_PER_IMAGE": "COCO's evaluator counts at most 100 detections an image (detectron2#3359)",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "a threshold raised for pictures ruins AP (detectron2#663)",
    "MODEL.RESNETS.DEPTH": "another network is another table",
    "MODEL.META_ARCHITECTURE": "another detector is another table",
}
RGB = {
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": (123.675, 116.28, 103.53),
    "MODEL.PIXEL_STD": (58.395, 57.12, 57.375),
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
}
MSRA = {
    "INPUT.FORMAT": "BGR",
    "MODEL.PIXEL_MEAN": (103.53, 116.28, 123.675),
    "MODEL.PIXEL_STD": (1.0, 1.0, 1.0),
    "MODEL.RESNETS.STRIDE_IN_1X1": True,
}
PLACEHOLDERS = ("see instructions", "path/to", "/path", "todo", "<")


def effect_of(key: str) -> str | None:
    """Return what a difference in this setting is known to do, None where nothing is known."""
    return EFFECTS.get(key)


def convention(settings: Settings) -> str:
    """Return how images are fed: ``torchvision`` (RGB), ``msra`` (BGR, std 1) or ``mixed``."""
    for name, wanted in (("torchvision", RGB), ("msra", MSRA)):
        if all(equal(settings.get(key, ABSENT), value) for key, value in wanted.items()):
            return name
    return "mixed"


def traps(settings: Settings) -> list[str]:
    """Return the known mistakes of published configs that these (completed) settings make, one sentence each."""
    return [*_input(settings), *_frozen(settings), *_schedule(settings), *_weights(settings), *_rest(settings)]


def _input(settings: Settings) -> list[str]:
    if convention(settings) != "mixed":
        return []
    values = ", ".join(f"{key.rsplit('.', 1)[-1]} {shown(settings.get(key, ABSENT))}" for key in CONVENTION)
    return [
        f"the input convention ({values}) is neither torchvision's nor MSRA's: a wrong colour order, a forgotten "
        "PIXEL_STD or the stride in the wrong convolution costs up to tens of AP, and nothing warns (lightly#1546, "
        "detectron2#752)"
    ]


def _frozen(settings: Settings) -> list[str]:
    found = []
    frozen = settings.get("MODEL.BACKBONE.FREEZE_AT", 0)
    weights = str(settings.get("MODEL.WEIGHTS", ""))
    norm = settings.get("MODEL.RESNETS.NORM")
    if frozen and not weights:
        found.append(
            f"MODEL.BACKBONE.FREEZE_AT is {frozen} without weights: the first stages are frozen at random values"
        )
    if norm == "FrozenBN" and not weights:
        found.append("FrozenBN without weights freezes statistics that no image was ever seen for")
    if norm in SYNCHRONISED and frozen:
        found.append(
            f"the norm is {norm}, but FREEZE_AT {frozen} still freezes stem and stages, their norms included "
            "(detectron2#2022)"
        )
    return found


def _schedule(settings: Settings) -> list[str]:
    steps, end = settings.get("SOLVER.STEPS", ()), settings.get("SOLVER.MAX_ITER", 0)
    found = []
    if isinstance(steps, tuple) and isinstance(end, int | float):
        late = [step for step in steps if isinstance(step, int | float) and step >= end]
        if late:
            found.append(
                f"the milestones {shown(tuple(late))} lie beyond the end at {end}: Detectron2 only warns, and the "
                "learning rate never falls there"
            )
    if (world := settings.get("SOLVER.REFERENCE_WORLD_SIZE", 0)) not in (0, None):
        found.append(
            f"SOLVER.REFERENCE_WORLD_SIZE is {world}: on another number of GPUs Detectron2 rewrites batch, learning "
            "rate and schedule silently"
        )
    return found


def _weights(settings: Settings) -> list[str]:
    weights = str(settings.get("MODEL.WEIGHTS", ""))
    if weights and any(mark in weights.lower() for mark in PLACEHOLDERS):
        return [f"MODEL.WEIGHTS is the placeholder {weights[:80]!r}: this config cannot have been trained as it stands"]
    return []


def _rest(settings: Settings) -> list[str]:
    found = []
    norms = {key: settings.get(key) for key in NORMS}
    if norms["MODEL.RESNETS.NORM"] == "FrozenBN" and norms["MODEL.FPN.NORM"] in SYNCHRONISED:
        found.append(
            "the backbone's norm is FrozenBN while the FPN's is synchronised: the backbone's was lost, perhaps"
        )
    limit = settings.get("TEST.DETECTIONS_PER_IMAGE", 100)
    if isinstance(limit, int) and limit > 100:
        found.append(f"TEST.DETECTIONS_PER_IMAGE is {limit}, but COCO's evaluator counts 100 at most (detectron2#3359)")
    return found
