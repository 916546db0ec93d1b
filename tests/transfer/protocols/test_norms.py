"""Which norm runs, and which is refused."""

import pytest

from tests.transfer.protocols.resolving import (
    NORM,
    data,
    norms,
    refused,
    resolve,
)
from transfer.protocols.description import describe_protocol
from transfer.protocols.names import PROTOCOLS


@pytest.mark.parametrize(("world_size", "runs"), [(1, "BN"), (2, "naiveSyncBN"), (8, "naiveSyncBN")])
@pytest.mark.parametrize("name", ["coco-c4-1x", "coco-fpn-1x", "coco-fpn-4conv-1x", "voc-c4-24k"])
def test_norm_by_world_size(name, world_size, runs):
    protocol = resolve(name, world_size=world_size)
    assert norms(protocol) == tuple(norm.replace("S", runs) for norm in NORM[name])
    assert protocol.norm == runs
    assert f"{runs} in backbone" in describe_protocol(protocol, data(PROTOCOLS[name]))


def test_a_norm_that_the_user_names_is_taken_at_his_word():
    words = ["MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "SyncBN"]
    protocol = resolve("coco-fpn-1x", world_size=8, overrides=words)
    assert norms(protocol) == ("BN", "naiveSyncBN", "", "")
    assert resolve(overrides=["MODEL.RESNETS.NORM", "FrozenBN"]).norm == "FrozenBN"
    refused("SynBN", "SyncBN", overrides=["MODEL.RESNETS.NORM", "SynBN"])
    refused("no value ''", overrides=["MODEL.RESNETS.NORM", ""])
    refused("nnSyncBN", "SyncBN", overrides=["MODEL.RESNETS.NORM", "nnSyncBN"])
    assert resolve(device="cuda", overrides=["MODEL.RESNETS.NORM", "nnSyncBN"]).norm == "nnSyncBN"


@pytest.mark.parametrize("family", ["random", "detectron2-random"])
def test_frozen_norms_of_untrained_weights_are_refused(family):
    refused("FrozenBN", family, family=family, overrides=["MODEL.RESNETS.NORM", "FrozenBN"])
    # Detectron2 turns the norms of frozen stages into FrozenBN.
    refused("FREEZE_AT 2", family, family=family, overrides=["MODEL.BACKBONE.FREEZE_AT", "2"])
    assert resolve(overrides=["MODEL.BACKBONE.FREEZE_AT", "2"]).cfg.MODEL.BACKBONE.FREEZE_AT == 2
