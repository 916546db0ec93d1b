"""Settings that would change nothing: each by itself, with what it needs and without."""

import pytest
from detectron2.config import get_cfg

from benchmark.core.errors import UserError
from tests.transfer.protocols.resolving import refused, resolve
from transfer.protocols.files import leaves
from transfer.protocols.settings import NEEDS, REFUSED, acts, check_needs, check_refused, entry_for, honoured_value

SCHEDULE, CLIP, WARMUP = "SOLVER.LR_SCHEDULER_NAME", "SOLVER.CLIP_GRADIENTS.ENABLED", "SOLVER.WARMUP_ITERS"
KIND, BACKBONE, HEADS = "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "MODEL.BACKBONE.NAME", "MODEL.ROI_HEADS.NAME"
# Setting -> values of others without which it changes nothing, and with which it does.
CASES = {
    "SOLVER.STEPS": ([SCHEDULE, "WarmupCosineLR"], [SCHEDULE, "WarmupMultiStepLR"]),
    "SOLVER.GAMMA": ([SCHEDULE, "WarmupCosineLR"], [SCHEDULE, "WarmupMultiStepLR"]),
    "SOLVER.BASE_LR_END": ([SCHEDULE, "WarmupMultiStepLR"], [SCHEDULE, "WarmupCosineLR"]),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ([CLIP, False], [CLIP, True]),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": ([CLIP, False], [CLIP, True]),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": ([CLIP, True, KIND, "value"], [CLIP, True, KIND, "norm"]),
    "SOLVER.WARMUP_FACTOR": ([WARMUP, 0], [WARMUP, 1]),
    "SOLVER.WARMUP_METHOD": ([WARMUP, 0], [WARMUP, 1]),
    "SOLVER.RESCALE_INTERVAL": ([WARMUP, 0], [WARMUP, 1]),
    "TEST.PRECISE_BN.NUM_ITER": (["TEST.PRECISE_BN.ENABLED", False], ["TEST.PRECISE_BN.ENABLED", True]),
    "INPUT.CROP.TYPE": (["INPUT.CROP.ENABLED", False], ["INPUT.CROP.ENABLED", True]),
    "INPUT.CROP.SIZE": (["INPUT.CROP.ENABLED", False], ["INPUT.CROP.ENABLED", True]),
    "MODEL.FPN.OUT_CHANNELS": ([BACKBONE, "build_resnet_backbone"], [BACKBONE, "build_resnet_fpn_backbone"]),
    "MODEL.ROI_MASK_HEAD.NORM": (["MODEL.MASK_ON", False], ["MODEL.MASK_ON", True]),
    "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": ([HEADS, "StandardROIHeads"], [HEADS, "CascadeROIHeads"]),
    "MODEL.ROI_BOX_HEAD.NUM_FC": ([HEADS, "Res5ROIHeads"], [HEADS, "StandardROIHeads"]),
}


def config(words):
    cfg = get_cfg()
    cfg.merge_from_list(words)
    return cfg


def test_every_setting_that_needs_another_is_tried():
    assert {entry_for(NEEDS, key) for key in CASES} - {None} == set(NEEDS.values())


@pytest.mark.parametrize("key", CASES)
def test_a_setting_acts_with_what_it_needs_alone(key):
    without, with_it = map(config, CASES[key])
    assert (acts(without, key), acts(with_it, key)) == (False, True)
    with pytest.raises(UserError, match=f"{key} changes nothing here"):
        check_needs(without, {key: None})
    check_needs(with_it, {key: None})
    check_needs(without, {"SOLVER.MAX_ITER": 1})


def test_a_gradient_that_is_not_clipped_has_no_norm():
    assert not acts(config([CLIP, False, KIND, "norm"]), "SOLVER.CLIP_GRADIENTS.NORM_TYPE")


def test_settings_of_other_detectors_and_of_tests_at_several_sizes_do_not_act():
    cfg = config([])
    assert not acts(cfg, "MODEL.RETINANET.NUM_CONVS")
    assert acts(cfg, "TEST.AUG.ENABLED")
    assert not acts(cfg, "TEST.AUG.FLIP")
    assert acts(config(["TEST.AUG.ENABLED", True]), "TEST.AUG.FLIP")
    assert acts(cfg, "SOLVER.BASE_LR")


def test_what_is_refused_may_be_named_with_its_default_alone():
    default = leaves(get_cfg())
    check_refused(get_cfg(), "the file")
    for key in default:
        if entry_for(REFUSED, key) is None or not isinstance(default[key], bool | int | float):
            continue
        changed = config([key, not default[key] if isinstance(default[key], bool) else default[key] + 1])
        with pytest.raises(UserError, match=f"^the file sets {key} to .*, which this suite does not do"):
            check_refused(changed, "the file")
    check_refused(config(["SOLVER.BASE_LR", 1.0]), "the file")


def test_a_resnet18_goes_into_an_fpn_alone():
    model = resolve("coco-fpn-1x", arch="resnet18").cfg.MODEL.RESNETS
    assert (model.DEPTH, model.RES2_OUT_CHANNELS) == (18, 64)  # He et al. 2016, table 1
    assert resolve("coco-fpn-1x").cfg.MODEL.RESNETS.DEPTH == 50
    refused("resnet18", "takes a ResNet-50", name="coco-c4-1x", arch="resnet18")
    refused("resnet34", name="coco-fpn-1x", arch="resnet34")


def test_a_setting_that_this_detectron2_lacks_is_none():
    assert honoured_value(get_cfg(), "SOLVER.GAMMA") == get_cfg().SOLVER.GAMMA
    assert honoured_value(get_cfg(), "SOLVER.NO_SUCH") is None
