"""The pages about the catalogue and about MoCo say what the code does."""

import dataclasses
import re

import pytest
import yaml

from benchmark.catalogue.entries import read_zoo
from benchmark.catalogue.listing import listing, pairs_text
from benchmark.catalogue.lookup import series
from benchmark.core.folder import ROOT
from transfer.convert import ConvertConfig
from transfer.detection.config import DetectionConfig

MOCO = (ROOT / "docs" / "coming_from_moco.md").read_text(encoding="utf-8")
ZOO = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")
NAMES = {entry.name for entry in read_zoo()}
OF_OTHERS = {  # options of MoCo's train_net.py and of torchrun
    "config-file", "num-gpus", "num-machines", "machine-rank", "dist-url", "nproc-per-node", "nnodes", "node-rank",
    "rdzv-endpoint",
}  # fmt: skip


def test_page_holds_what_the_command_prints(cache):
    assert listing(read_zoo()) in ZOO
    assert pairs_text(series(read_zoo())) in ZOO


@pytest.mark.parametrize("page", [MOCO, ZOO])
def test_names_on_the_pages_exist(page):
    assert set(re.findall(r"zoo:([a-z0-9_.]+[a-z0-9])", page)) <= NAMES | {"name"}


def test_names_in_the_shipped_suites_exist():
    suites = list((ROOT / "benchmark" / "suites").glob("*.yaml"))
    told = {name for path in suites for name in re.findall(r"zoo:([a-z0-9_.]+)", path.read_text(encoding="utf-8"))}
    assert told <= NAMES


def test_options_on_the_page_of_moco_exist():
    own = {f.name.replace("_", "-") for config in (DetectionConfig, ConvertConfig) for f in dataclasses.fields(config)}
    told = {flag.removeprefix("no-") for flag in re.findall(r"--([a-z][a-z-]+)", MOCO)}
    assert told - own - OF_OTHERS == set()


def test_protocols_on_the_page_of_moco_have_these_values():
    for name in re.findall(r"--protocol ([a-z0-9-]+)", MOCO):
        assert (ROOT / "benchmark" / "protocols" / f"{name}.yaml").is_file()
    told = yaml.safe_load((ROOT / "benchmark" / "protocols" / "coco-c4-2x.yaml").read_text())["settings"]
    voc = yaml.safe_load((ROOT / "benchmark" / "protocols" / "voc-c4-24k.yaml").read_text())["settings"]
    assert (told["SOLVER.STEPS"], told["SOLVER.MAX_ITER"]) == ([120_000, 160_000], 180_000)
    assert (voc["SOLVER.STEPS"], voc["SOLVER.MAX_ITER"], voc["SOLVER.WARMUP_ITERS"]) == ([18_000, 22_000], 24_000, 100)
    for settings in (told, voc):
        assert settings["MODEL.BACKBONE.FREEZE_AT"] == 0
        assert settings["MODEL.ROI_HEADS.NAME"] == "Res5ROIHeadsExtraNorm"
        assert settings["INPUT.MAX_SIZE_TRAIN"] == 1333
        assert (settings["MODEL.RPN.PRE_NMS_TOPK_TEST"], settings["MODEL.RPN.POST_NMS_TOPK_TEST"]) == (6000, 1000)
        assert (settings["TEST.PRECISE_BN.ENABLED"], settings["TEST.PRECISE_BN.NUM_ITER"]) == (True, 200)
        assert (settings["SOLVER.IMS_PER_BATCH"], settings["SOLVER.BASE_LR"]) == (16, 0.02)


def test_files_on_the_page_of_moco_exist():
    for path in re.findall(r"`((?:transfer|benchmark)/[\w/.-]+)`", MOCO):
        assert (ROOT / path).exists(), path
