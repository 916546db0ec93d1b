"""Whether two runs may share a table: the hash of the settings that such runs have in common."""

from detectron2.config import CfgNode

from benchmark.core.files import sha256_of
from transfer.protocols.files import leaves
from transfer.protocols.norms import NORM_OF, SYNCHRONISED
from transfer.protocols.settings import DECIDED_BY

# What two comparable runs may differ in: where, from what and on what they run, and the learning rate of each method.
NOT_COMPARED = {
    *(key for key in DECIDED_BY if key not in ("SOLVER.IMS_PER_BATCH", "SOLVER.AMP.ENABLED")),
    *("SOLVER.BASE_LR", "INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "MODEL.RESNETS.STRIDE_IN_1X1"),
    *("DATASETS.PROPOSAL_FILES_TRAIN", "DATASETS.PROPOSAL_FILES_TEST", "TEST.EVAL_PERIOD", "TEST.EXPECTED_RESULTS"),
    *("VIS_PERIOD", "CUDNN_BENCHMARK", "GLOBAL.HACK", "VERSION"),
}

# A setting that younger versions of Detectron2 have; empty, it means what older versions do.
FLOAT32_PRECISION = "FLOAT32_PRECISION"


def protocol_hash(cfg: CfgNode, world_size: int) -> str:
    """Hash what runs in one table share. Statistics over the whole batch are SyncBN, whatever computes them."""
    whole_batch = (*SYNCHRONISED, "BN") if world_size == 1 else SYNCHRONISED
    compared = {key: value for key, value in leaves(cfg).items() if key not in NOT_COMPARED}
    if not compared.get(FLOAT32_PRECISION):
        compared.pop(FLOAT32_PRECISION, None)
    for key in NORM_OF:
        if compared[key] in whole_batch:
            compared[key] = "SyncBN"
    return sha256_of(compared)
