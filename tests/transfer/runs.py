"""Small fine-tuning runs for the tests: a tiny COCO set, options that take seconds, calls as users make them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmark.core.files import write_json
from benchmark.core.folder import ROOT
from benchmark.core.options import parse
from benchmark.embedded.composer import write_coco_split, write_voc_split
from benchmark.records import RunRecord
from transfer.detection.config import DetectionConfig
from transfer.detection.run import prepare

SCRIPT = str(ROOT / "transfer" / "coco.py")
SIZE = 64
# KEY VALUE pairs that make the embedded protocol take a second an iteration or less.
TINY = {
    "SOLVER.MAX_ITER": "6",
    "SOLVER.WARMUP_ITERS": "2",
    "INPUT.MIN_SIZE_TRAIN": f"({SIZE},)",
    "INPUT.MIN_SIZE_TEST": str(SIZE),
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "16",
    "MODEL.RPN.POST_NMS_TOPK_TEST": "20",
}
# Of an FPN: narrow heads, which would else be half of the weights.
NARROW = {"MODEL.FPN.OUT_CHANNELS": "64", "MODEL.ROI_BOX_HEAD.FC_DIM": "64"}


def coco_root(folder: Path, train: int = 8, val: int = 4) -> Path:
    """Write a COCO set of composed scenes under `folder` and return its root."""
    write_coco_split(folder, "train2017", "train", train, SIZE, 0)
    write_coco_split(folder, "val2017", "val", val, SIZE, 0)
    return folder


def voc_root(folder: Path, train: int = 6, val: int = 4) -> Path:
    """Write a VOC set of composed scenes under `folder` and return its root."""
    write_voc_split(folder / "VOC2007", "trainval", "train", range(train // 2), SIZE, 0)
    write_voc_split(folder / "VOC2012", "trainval", "train", range(train // 2, train), SIZE, 0)
    write_voc_split(folder / "VOC2007", "test", "val", range(val), SIZE, 0)
    return folder


def flags(folder: Path, data: Path, *words: str, tiny: bool = True, **options: Any) -> list[str]:
    """Return the command line of a small run that writes under `folder`; `words` win over ``TINY``."""
    settings = {"data": data, "protocol": "embedded", "output": folder / "run", "records": folder / "records"}
    settings |= {"workers": 0, "precision": "fp32", "ims_per_batch": None, "log_every": 1, "checkpoint_every": 2}
    settings |= {"device": "cpu", **options}
    given = [f"--{key.replace('_', '-')}={value}" for key, value in settings.items() if value is not None]
    small = TINY | (NARROW if str(settings["protocol"]).startswith("embedded") else {})
    own = {key: value for key, value in small.items() if tiny and key not in words}
    return [*given, *(word for pair in own.items() for word in pair), *words]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a child: one thread, this checkout first on the path."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}


def start(arguments: list[str], processes: int = 1, script: str = SCRIPT) -> "subprocess.Popen[str]":
    """Start a script in its own process group, by torchrun when there are several processes."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    command = [sys.executable, *(launcher if processes > 1 else []), script, *arguments]
    return subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def the_record(folder: Path) -> RunRecord:
    """Return the one record that a run has left."""
    (path,) = (folder / "records").glob("*.json")
    return RunRecord.read(path)


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.json."""
    return [json.loads(line) for line in (folder / "run" / "metrics.json").read_text().splitlines()]


def claim_for(folder: Path, arguments: list[str]) -> None:
    """Make `folder` that of the run with these arguments, without running it."""
    run = prepare("coco", parse(DetectionConfig, arguments, "", ""), torch.device("cpu"))
    write_json(folder / "run.json", run.identity)


def with_objects(root: Path) -> int:
    """Count the training images that have an object: those that Detectron2 trains on."""
    content = json.loads((root / "annotations" / "instances_train2017.json").read_text())
    return len({annotation["image_id"] for annotation in content["annotations"]})
