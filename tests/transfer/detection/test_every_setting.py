"""Every setting of Detectron2 is honoured, decided by a flag, or refused: none is accepted and ignored.

Honoured means that the code which builds, trains and evaluates a detector reads it. The reads are recorded in real
runs of one iteration, and while detectors with other heads are built.
"""

from dataclasses import replace
from operator import attrgetter

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetMapper
from detectron2.solver import build_lr_scheduler, build_optimizer

from benchmark.core.errors import UserError
from benchmark.core.options import parse
from tests.transfer.protocols.resolving import refused, resolve
from tests.transfer.runs import coco_root, flags
from transfer.detection.config import DetectionConfig
from transfer.detection.model import build_detector
from transfer.detection.run import prepare
from transfer.detection.trainer import DetectionTrainer
from transfer.detection.work import build, finish
from transfer.protocols.files import leaves
from transfer.protocols.settings import DECIDED_BY, NEEDS, REFUSED, acts, entry_for

KEYS = tuple(leaves(get_cfg()))


class Recorder(CfgNode):
    """A config that remembers which of its settings were read by name."""

    def __init__(self, node, seen, prefix=""):
        dict.__init__(self)
        self.__dict__.update(node.__dict__)
        for key, value in node.items():
            dict.__setitem__(self, key, Recorder(value, seen, f"{prefix}{key}.") if isinstance(value, dict) else value)
        self.__dict__["_seen"], self.__dict__["_prefix"] = seen, prefix

    def __getattr__(self, name):
        value = super().__getattr__(name)
        if not isinstance(value, dict):
            self.__dict__["_seen"].add(self.__dict__["_prefix"] + name)
        return value

    def clone(self):
        return Recorder(self, self.__dict__["_seen"], self.__dict__["_prefix"])

    def __deepcopy__(self, memo):
        return self.clone()


def on_meta(name, seen, *words):
    """Build a detector without memory, its optimiser and its schedule, and record what they read."""
    cfg = resolve(name, overrides=words).cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    recorder = Recorder(cfg, seen)
    with torch.device("meta"):
        model = build_detector(recorder)
    build_lr_scheduler(recorder, build_optimizer(recorder, model))
    DatasetMapper(recorder, is_train=True)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """The settings that are read when detectors are built, trained for an iteration and evaluated."""
    read = set()
    folder = tmp_path_factory.mktemp("settings")
    words = ["SOLVER.MAX_ITER", "1", "SOLVER.WARMUP_ITERS", "0", "INPUT.CROP.ENABLED", "True"]
    words += ["TEST.PRECISE_BN.ENABLED", "True", "TEST.PRECISE_BN.NUM_ITER", "1"]
    arguments = flags(folder, coco_root(folder / "data", train=4, val=2), *words)
    run = prepare("coco", parse(DetectionConfig, arguments, "", ""), torch.device("cpu"))
    cfg = Recorder(run.subject.protocol.cfg, read)
    run = replace(run, subject=replace(run.subject, protocol=replace(run.subject.protocol, cfg=cfg)))
    run.output.mkdir()
    trainer = DetectionTrainer(cfg, build(run)[0], 0)
    trainer.train(0, 1)
    finish(run, trainer, picture=False)
    on_meta("coco-c4-1x", read)
    cascade = ("MODEL.ROI_HEADS.NAME", "CascadeROIHeads", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True")
    on_meta("coco-fpn-4conv-1x", read, *cascade)
    return read


def test_every_setting_is_read_or_decided_or_refused(seen):
    accepted = {key for key in KEYS if key not in DECIDED_BY and entry_for(REFUSED, key) is None}
    assert accepted - seen == set()


def test_a_setting_is_not_in_two_of_the_tables():
    known = set(KEYS) | {"FLOAT32_PRECISION"}
    for table in (DECIDED_BY, REFUSED, NEEDS):
        for entry in table:
            assert any(key == entry or (entry.endswith(".") and key.startswith(entry)) for key in known), entry
    assert not [key for key in KEYS if key in DECIDED_BY and entry_for(REFUSED, key)]


@pytest.mark.parametrize("key", [key for key in KEYS if entry_for(REFUSED, key)])
def test_what_is_refused_is_refused_by_key_value_and_in_a_file(key, tmp_path):
    default = attrgetter(key)(get_cfg())
    refused(f"{key} cannot be changed here", overrides=[key, repr(default)])
    if key == "VERSION":
        return
    other = not default if isinstance(default, bool) else default + 1 if isinstance(default, int | float) else None
    if other is None:
        other = default + "x" if isinstance(default, str) else (*default, *(default[:1] or ("x",)))
    path = tmp_path / "mine.yaml"
    text = repr(other) if isinstance(other, bool | int | float) else f'"{other}"'
    nested = "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(key.split(".")[:-1]))
    last = key.split(".")
    path.write_text(f"{nested}{'  ' * (len(last) - 1)}{last[-1]}: {text}\n", encoding="utf-8")
    refused(key, "which this suite does not do", name=str(path))


@pytest.mark.parametrize(
    ("name", "words", "part"),
    [
        ("embedded", ["SOLVER.STEPS", "(50,)"], "SOLVER.LR_SCHEDULER_NAME WarmupMultiStepLR"),
        ("embedded", ["SOLVER.GAMMA", "0.5"], "SOLVER.LR_SCHEDULER_NAME WarmupMultiStepLR"),
        ("coco-c4-1x", ["SOLVER.BASE_LR_END", "0.1"], "WarmupCosineLR"),
        ("coco-c4-1x", ["SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "2.0"], "SOLVER.CLIP_GRADIENTS.ENABLED True"),
        ("coco-c4-1x", ["MODEL.FPN.NORM", "BN"], "an FPN"),
        ("coco-c4-1x", ["MODEL.ROI_BOX_HEAD.NUM_FC", "2"], "share res5"),
        ("coco-fpn-1x", ["MODEL.ROI_BOX_CASCADE_HEAD.IOUS", "(0.4, 0.5, 0.6)"], "CascadeROIHeads"),
        ("coco-fpn-1x", ["INPUT.CROP.SIZE", "[0.5, 0.5]"], "INPUT.CROP.ENABLED True"),
        ("voc-c4-24k", ["MODEL.ROI_MASK_HEAD.NORM", "BN"], "MODEL.MASK_ON True"),
        ("embedded", ["TEST.PRECISE_BN.NUM_ITER", "5"], "TEST.PRECISE_BN.ENABLED True"),
    ],
)
def test_a_setting_that_would_change_nothing_is_refused(name, words, part):
    refused(f"{words[0]} changes nothing here", part, name=name, overrides=words)
    assert not acts(resolve(name).cfg, words[0])


def test_the_same_settings_are_taken_where_they_act():
    words = ["SOLVER.CLIP_GRADIENTS.ENABLED", "True", "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "2.0"]
    assert resolve(overrides=words).cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE == 2.0
    words = ["SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", "(50,)"]
    assert resolve("embedded", overrides=words).cfg.SOLVER.STEPS == (50,)
    with pytest.raises(UserError, match="changes nothing here"):
        resolve("embedded", overrides=words[2:])


@pytest.mark.parametrize("wanted", [True, False])
def test_cudnn_s_search_is_switched_as_asked(wanted, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", not wanted)
    arguments = flags(tmp_path, coco_root(tmp_path / "data", 4, 2), "CUDNN_BENCHMARK", str(wanted))
    run = prepare("coco", parse(DetectionConfig, arguments, "", ""), torch.device("cpu"))
    DetectionTrainer(run.subject.protocol.cfg, build(run)[0], 0)
    assert torch.backends.cudnn.benchmark is wanted
