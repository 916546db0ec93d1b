"""The exported protocols are those that transfer/ resolves, and can be read without torch or Detectron2."""

import subprocess
import sys
from operator import attrgetter

import pytest

from benchmark.core.folder import ROOT
from benchmark.core.options import load_yaml
from tests.transfer.protocols.resolving import NORM, resolve
from transfer.protocols import export
from transfer.protocols.names import PROTOCOLS
from transfer.protocols.norms import NORM_OF

STORED = "run `python -m transfer.protocols.export` and commit what it writes"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_committed_file_is_what_the_protocol_resolves_to(name):
    assert (export.EXPORTED / f"{name}.yaml").read_text(encoding="utf-8") == export.to_text(name), STORED


def test_the_committed_defaults_are_detectron2s():
    assert export.DEFAULTS.read_text(encoding="utf-8") == export.defaults_text(), STORED


def test_every_protocol_is_exported_and_nothing_else():
    assert {path.stem for path in export.EXPORTED.glob("*.yaml")} == set(PROTOCOLS)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_settings_and_hash_are_those_of_a_run(name):
    content = load_yaml(export.EXPORTED / f"{name}.yaml")
    run = resolve(name, world_size=8, ims_per_batch=16 if "embedded" in name else None)
    own = resolve(name)
    assert content["hash"] == own.hash
    assert content["task"] == PROTOCOLS[name]
    assert content["settings"]["SOLVER.MAX_ITER"] == own.cfg.SOLVER.MAX_ITER
    assert content["settings"]["INPUT.MIN_SIZE_TRAIN"] == list(own.cfg.INPUT.MIN_SIZE_TRAIN)
    assert content["settings"]["INPUT.FORMAT"] == "RGB"
    assert content["msra"]["INPUT.FORMAT"] == "BGR"
    assert attrgetter("MODEL.RESNETS.NORM")(run.cfg) == "naiveSyncBN"
    written = [content["settings"].get(key, "") for key in NORM_OF]
    shown = [norm.replace("S", "SyncBN") for norm in NORM[name]]
    box_head_is_built, masks_are_on = "-c4-" not in name, "voc" not in name
    assert written == [shown[0], shown[1], shown[2] if box_head_is_built else "", shown[3] if masks_are_on else ""]


def test_what_no_part_of_the_detector_reads_is_left_out():
    c4, fpn = (load_yaml(export.EXPORTED / f"coco-{kind}-1x.yaml")["settings"] for kind in ("c4", "fpn"))
    assert not [key for key in c4 if key.startswith(("MODEL.FPN.", "MODEL.RETINANET."))]
    assert "INPUT.CROP.SIZE" not in fpn
    assert "MODEL.ROI_BOX_HEAD.NUM_FC" in fpn
    assert "MODEL.ROI_BOX_HEAD.NUM_FC" not in c4
    assert not {"MODEL.WEIGHTS", "MODEL.DEVICE", "SEED", "OUTPUT_DIR", "DATASETS.TRAIN"} & set(c4)


def test_reading_an_exported_protocol_needs_no_torch():
    program = (
        "import sys; from benchmark.core.folder import ROOT; from benchmark.core.options import load_yaml\n"
        "print(load_yaml(ROOT / 'benchmark' / 'protocols' / 'coco-c4-2x.yaml')['settings']['SOLVER.MAX_ITER'])\n"
        "assert not {'torch', 'detectron2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "180000"), done.stderr


@pytest.mark.parametrize("by_command_line", [False, True])
def test_the_command_writes_the_files(by_command_line, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["export", str(tmp_path)])
    assert export.main(None if by_command_line else [str(tmp_path)]) == 0
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(PROTOCOLS)
    assert capsys.readouterr().out.count(".yaml") == len(PROTOCOLS)
