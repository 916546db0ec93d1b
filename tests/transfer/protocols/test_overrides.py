"""KEY VALUE pairs and precision."""

import json

import pytest
from detectron2.config import get_cfg

from tests.transfer.protocols.resolving import (
    data,
    lr_at,
    refused,
    resolve,
)
from transfer.protocols.description import describe_protocol
from transfer.protocols.files import leaves
from transfer.protocols.settings import DECIDED_BY


def test_overrides_are_applied_recorded_and_taken_literally():
    words = ["SOLVER.MAX_ITER", "100", "SOLVER.STEPS", "(50, 80)", "SOLVER.WARMUP_ITERS", "10"]
    words += ["INPUT.MIN_SIZE_TRAIN", "(320,)", "MODEL.ROI_HEADS.NMS_THRESH_TEST", "0.6", "MODEL.RPN.HEAD_NAME", "Mine"]
    protocol = resolve(ims_per_batch=4, overrides=words)
    cfg = protocol.cfg
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.WARMUP_ITERS) == (100, (50, 80), 10)  # not times 4
    assert cfg.SOLVER.BASE_LR == 0.005
    assert (cfg.INPUT.MIN_SIZE_TRAIN, cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST) == ((320,), 0.6)
    assert protocol.overrides == {
        "SOLVER.MAX_ITER": 100,
        "SOLVER.STEPS": [50, 80],
        "SOLVER.WARMUP_ITERS": 10,
        "INPUT.MIN_SIZE_TRAIN": [320],
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.6,
        "MODEL.RPN.HEAD_NAME": "Mine",
    }
    assert json.loads(json.dumps(protocol.overrides)) == protocol.overrides
    assert "SOLVER.MAX_ITER 100" in describe_protocol(protocol, data())


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["SOLVER.MAX_ITERS", "5"], ["'SOLVER.MAX_ITERS'", "did you mean 'SOLVER.MAX_ITER'?"]),
        (["MAX_ITER", "5"], ["'SOLVER.MAX_ITER'"]),
        (["SOLVER", "5"], ["'SOLVER'"]),
        (["SOLVER.STEPS.x", "5"], ["'SOLVER.STEPS.x'", "'SOLVER.STEPS'"]),
        (["SOLVER.MAX_ITER"], ["pairs", "'SOLVER.MAX_ITER'"]),
        (["SOLVER.MAX_ITER", "5", "MODEL.MASK_ON"], ["pairs", "3 words"]),
        (["SOLVER.MAX_ITER", "many"], ["SOLVER.MAX_ITER", "'many'", "int", "90000"]),
        (["SOLVER.MAX_ITER", "5.5"], ["SOLVER.MAX_ITER", "'5.5'"]),
        (["SOLVER.MAX_ITER", "None"], ["SOLVER.MAX_ITER", "'None'"]),
        (["MODEL.MASK_ON", "1"], ["MODEL.MASK_ON", "bool"]),
        (["INPUT.MIN_SIZE_TRAIN", "320"], ["INPUT.MIN_SIZE_TRAIN", "tuple", "(640, 672"]),
        (["INPUT.MIN_SIZE_TRAIN", "('a',)"], ["INPUT.MIN_SIZE_TRAIN"]),
        (["SOLVER.MAX_ITER", "99000", "SOLVER.MAX_ITER", "98000"], ["twice"]),
        (["SOLVER.MAX_ITER", "10"], ["SOLVER.WARMUP_ITERS"]),
        (["SOLVER.MAX_ITER", "10", "SOLVER.WARMUP_ITERS", "2"], ["SOLVER.STEPS (60000, 80000)", "SOLVER.MAX_ITER 10"]),
        (["SOLVER.MAX_ITER", "80000"], ["SOLVER.STEPS (60000, 80000)", "SOLVER.MAX_ITER 80000"]),
        (["SOLVER.MAX_ITER", "0"], ["SOLVER.MAX_ITER is 0"]),
        (["SOLVER.STEPS", "(80000, 60000)"], ["rise"]),
        (["SOLVER.STEPS", "(600.5,)"], ["whole numbers"]),
        (["SOLVER.WARMUP_ITERS", "-1"], ["SOLVER.WARMUP_ITERS -1"]),
        (["SOLVER.LR_SCHEDULER_NAME", "Cosine"], ["WarmupCosineLR"]),
        (
            ["SOLVER.CLIP_GRADIENTS.ENABLED", "True", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model"],
            ["full_model", "norm"],
        ),
    ],
)
def test_what_key_value_may_not_say(words, parts):
    refused(*parts, overrides=words)


@pytest.mark.parametrize("key", DECIDED_BY)
def test_settings_with_a_flag_of_their_own_are_refused(key):
    assert key in leaves(get_cfg())
    refused(key, "--", overrides=[key, "1"])


def test_masks_on_voc_are_refused():
    refused("no masks", name="voc-c4-24k", overrides=["MODEL.MASK_ON", "True"])


def test_no_steps_make_a_short_run_possible():
    words = ["SOLVER.MAX_ITER", "10", "SOLVER.STEPS", "()", "SOLVER.WARMUP_ITERS", "2"]
    protocol = resolve(overrides=words)
    assert lr_at(protocol.cfg, 0.9) == 0.02
    assert "then constant" in describe_protocol(protocol, data())


def test_the_learning_rate_may_fall_from_the_first_iteration_to_the_last_but_one():
    words = ["SOLVER.MAX_ITER", "3", "SOLVER.STEPS", "(1, 2)", "SOLVER.WARMUP_ITERS", "0"]
    assert resolve(overrides=words).cfg.SOLVER.STEPS == (1, 2)
    refused("SOLVER.STEPS is (0, 2)", overrides=[*words[:3], "(0, 2)", *words[4:]])
    refused("SOLVER.STEPS (1, 3)", overrides=[*words[:3], "(1, 3)", *words[4:]])


def test_the_shortest_run_has_one_iteration():
    words = ["SOLVER.STEPS", "()", "SOLVER.WARMUP_ITERS", "0"]
    assert resolve(overrides=[*words, "SOLVER.MAX_ITER", "1"]).cfg.SOLVER.MAX_ITER == 1
    refused("SOLVER.MAX_ITER is 0", overrides=[*words, "SOLVER.MAX_ITER", "0"])
    refused("SOLVER.WARMUP_ITERS 7", overrides=[*words[:3], "7", "SOLVER.MAX_ITER", "7"])
    refused("learning rate is 0.0", lr=0.0)


@pytest.mark.parametrize(
    ("name", "precision", "bf16", "changed"),
    [
        ("coco-c4-1x", None, False, {}),
        ("coco-c4-1x", "fp32", False, {}),
        ("coco-c4-1x", "bf16", True, {"precision": "bf16"}),
        ("embedded", None, True, {}),
        ("embedded", "bf16", True, {}),
        ("embedded", "fp32", False, {"precision": "fp32"}),
    ],
)
def test_precision(name, precision, bf16, changed):
    protocol = resolve(name, precision=precision)
    assert bf16 == protocol.cfg.SOLVER.AMP.ENABLED
    assert protocol.overrides == changed


def test_an_unknown_precision_is_refused():
    refused("--precision", "bf16", precision="bf8")
