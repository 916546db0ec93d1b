"""Which norm runs: the checks of what was asked for, and SyncBN by the number of processes."""

from operator import attrgetter

from detectron2.config import CfgNode

from benchmark.core.errors import UserError, check_choice
from transfer.checkpoints.weights import DETECTRON2_RANDOM, RANDOM

NORM_OF = {
    "MODEL.RESNETS.NORM": "backbone",
    "MODEL.FPN.NORM": "FPN",
    "MODEL.ROI_BOX_HEAD.NORM": "box head",
    "MODEL.ROI_MASK_HEAD.NORM": "mask head",
}
NORMS = ("BN", "SyncBN", "naiveSyncBN", "naiveSyncBN_N", "nnSyncBN", "FrozenBN", "GN", "LN")
SYNCHRONISED = ("SyncBN", "naiveSyncBN")  # two words for statistics over the whole batch


def check_norms(cfg: CfgNode, family: str, device: str) -> None:
    """Raise ``UserError`` for a norm that does not exist, cannot run on `device`, or would freeze untrained weights.

    `family` is that of the weights, see ``backbone.Provenance``.
    """
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


def settle_norms(cfg: CfgNode, world_size: int) -> None:
    """Put the norm that runs in place of SyncBN, everywhere.

    On one process it is plain BN: torch's synchronised one needs a GPU and a process group. On several it is
    Detectron2's naive one, as MoCo uses since 2020-11 ("SyncBN seems to cause larger variance for unknown reasons").
    """
    for key in NORM_OF:
        if attrgetter(key)(cfg) in SYNCHRONISED:
            cfg.merge_from_list([key, "BN" if world_size == 1 else "naiveSyncBN"])
