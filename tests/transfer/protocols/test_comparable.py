"""The hash of comparable runs: what changes it and what does not."""

import pytest

from tests.transfer.protocols.resolving import (
    data,
    resolve,
)
from transfer.protocols.names import PROTOCOLS


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 7},
        {"output": "elsewhere"},
        {"workers": 0},
        {"device": "cuda"},
        {"family": "msra"},
        {"lr": 0.1},
        {"overrides": ["SOLVER.BASE_LR", "0.1"]},
        {"world_size": 2},
        {"world_size": 8},
        {"precision": "fp32"},
        {"ims_per_batch": 16},
        {"data": data(class_names=("a",), mask_format="bitmask")},
    ],
)
def test_hash_stays(options):
    assert resolve(**options).hash == resolve().hash


@pytest.mark.parametrize(
    "options",
    [
        {"overrides": ["SOLVER.MAX_ITER", "90001"]},
        {"overrides": ["SOLVER.WEIGHT_DECAY", "0.0"]},
        {"overrides": ["INPUT.MIN_SIZE_TRAIN", "(800,)"]},
        {"overrides": ["INPUT.MIN_SIZE_TEST", "640"]},
        {"overrides": ["MODEL.ROI_HEADS.NAME", "Res5ROIHeads"]},
        {"overrides": ["MODEL.RESNETS.NORM", "FrozenBN"]},
        {"overrides": ["MODEL.RESNETS.NORM", "BN"], "world_size": 8},
        {"overrides": ["TEST.PRECISE_BN.ENABLED", "False"]},
        {"precision": "bf16"},
        {"ims_per_batch": 8},
    ],
)
def test_hash_changes(options):
    assert resolve(**options).hash != resolve().hash


def test_protocols_differ_in_their_hash():
    assert len({resolve(name).hash for name in PROTOCOLS}) == len(PROTOCOLS)
