"""Audits of what others made: two published logs and their configs, a log of Detectron2's own trainer, odd configs."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from benchmark import check
from benchmark.audit.config_file import read_config
from benchmark.audit.log_file import read_log
from benchmark.audit.matching import completed, match
from benchmark.audit.shipped import detectron2_defaults, shipped_protocols
from benchmark.audit.verdict import audit
from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT

LOGS = ROOT.parent / "shared" / "data" / "detectron2_logs"
needs_logs = pytest.mark.skipif(not LOGS.is_dir(), reason="the published logs are not beside the project")
FPN_2X, C4_1X = "MaskRCNN-FPN-RegionCLM-2x", "MaskRCNN-C4-RegionCLM-1x"


@needs_logs
@pytest.mark.parametrize("suffix", [".log", ".yaml"])
def test_a_published_fpn_run_is_our_protocol_to_the_last_key(suffix):
    found = audit(LOGS / f"{FPN_2X}{suffix}")
    assert found.match.protocol.name == "coco-fpn-2x"
    assert found.match.differences == ()
    assert found.match.exact
    assert any("SyncBN" in note for note in found.notes)
    assert found.findings == ()


@needs_logs
@pytest.mark.parametrize("suffix", [".log", ".yaml"])
def test_a_published_c4_run_differs_in_the_size_alone(suffix):
    found = audit(LOGS / f"{C4_1X}{suffix}")
    assert found.match.protocol.name == "coco-c4-1x"
    assert [(d.key, d.found, d.wanted) for d in found.match.differences] == [("INPUT.MAX_SIZE_TRAIN", 1200, 1333)]


BOX_AP = {"AP": 39.7896, "AP50": 59.7938, "AP75": 42.9901, "APs": 22.7471, "APm": 44.8372, "APl": 53.5146}


@needs_logs
def test_figures_and_cost_as_the_log_prints_them():
    log = read_log(LOGS / f"{C4_1X}.log")
    assert log.metrics["bbox"] == BOX_AP
    assert log.metrics["segm"]["AP"] == 34.8428
    assert log.seconds_per_iteration == 0.2844
    assert log.total_seconds == 7 * 3600 + 8 * 60 + 29
    assert (log.memory_mib, log.world_size, log.gpu) == (10058.0, 8, "8 x A100-SXM4-40GB")
    assert (log.seed, log.last_iteration, log.norms["SyncBatchNorm"]) == (32420342, 89999, 54)
    assert log.versions["detectron2"] == "0.5"
    assert log.versions["pytorch"] == "1.7.0a0+7036e91"


@needs_logs
def test_the_command_writes_an_imported_record(tmp_path, capsys):
    words = [str(LOGS / f"{FPN_2X}.log"), "--record", "--records", str(tmp_path)]
    assert check.main([*words, "--method", "regioncl", "--epochs-stated", "200"]) == 0
    assert "coco-fpn-2x, no setting differs" in capsys.readouterr().out
    (path,) = tmp_path.glob("*.json")
    record = json.loads(path.read_text())
    assert (record["kind"], record["method_source"], record["epochs"]) == ("imported", "stated", 200)
    assert record["protocol_hash"] == shipped_protocols()["coco-fpn-2x"].hash
    assert record["metrics"]["bbox"]["AP"] == 41.6052
    assert check.main([*words, "--method", "regioncl", "--epochs-stated", "200"]) == 0
    assert len(list(tmp_path.glob("*.json"))) == 1  # the same run is one record


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder that Detectron2's own trainer leaves."""
    folder = tmp_path_factory.mktemp("d2")
    program = ROOT / "tests" / "benchmark" / "audit" / "default_trainer.py"
    made = subprocess.run([sys.executable, program, folder], capture_output=True, text=True, timeout=300, cwd=folder)
    assert made.returncode == 0, made.stderr[-2000:]
    return folder / "out"


@pytest.mark.parametrize("what", ["log.txt", "config.yaml", ""])
def test_a_run_of_detectron2_s_own_trainer(trained, what):
    found = audit(trained / what)
    assert found.settings["SOLVER.MAX_ITER"] == 4
    assert found.match.protocol.name.startswith("coco-fpn")
    differing = {d.key: (d.found, d.wanted) for d in found.match.differences}
    # Plain BN is the norm over the whole batch where one process holds it; a config alone does not tell.
    assert ("MODEL.RESNETS.NORM" in differing) == (what == "config.yaml")
    assert differing["INPUT.MIN_SIZE_TRAIN"][0] == (96,)
    text = " ".join(found.findings)
    assert "frozen at random values" in text  # FREEZE_AT 2 without weights
    assert "milestones [9] lie beyond the end" in text
    if what != "config.yaml":
        assert found.log.metrics["bbox"]["AP"] is not None
        assert found.log.seed == 7
        assert found.complete


def test_the_trainer_s_own_config_reads_as_detectron2_reads_it(trained):
    from detectron2.config import get_cfg

    cfg = get_cfg()
    cfg.merge_from_file(str(trained / "config.yaml"))
    ours = read_config(trained / "config.yaml").settings
    assert ours["SOLVER.STEPS"] == cfg.SOLVER.STEPS
    assert ours["INPUT.MIN_SIZE_TRAIN"] == cfg.INPUT.MIN_SIZE_TRAIN
    assert ours["SOLVER.BASE_LR"] == cfg.SOLVER.BASE_LR


def test_the_defaults_are_detectron2_s():
    from detectron2.config import get_cfg

    def leaves(cfg, prefix=""):
        for key, value in cfg.items():
            if isinstance(value, dict):
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    from benchmark.audit.settings import in_one_form

    assert detectron2_defaults() == {key: in_one_form(value) for key, value in leaves(get_cfg())}


@pytest.mark.parametrize("name", list(shipped_protocols()))
def test_each_of_our_protocols_is_recognised(name):
    found = match(shipped_protocols()[name].settings)
    assert (found.protocol.name, found.exact) == (name, True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SOLVER.WEIGHT_DECAY", 2.5e-5),
        ("MODEL.ROI_HEADS.NAME", "Res5ROIHeads"),
        ("TEST.PRECISE_BN.ENABLED", False),
        ("MODEL.RPN.PRE_NMS_TOPK_TEST", 1000),
        ("SOLVER.BASE_LR", 0.1),
        ("INPUT.RANDOM_FLIP", "none"),
        ("SOLVER.AMP.ENABLED", True),
        ("MODEL.BACKBONE.FREEZE_AT", 2),
    ],
)
def test_a_single_changed_setting_is_named(key, value):
    settings = shipped_protocols()["coco-c4-2x"].settings | {key: value}
    found = match(settings)
    assert found.protocol.name == "coco-c4-2x"
    assert [d.key for d in found.differences] == [key]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("MODEL.RETINANET.NUM_CONVS", 9), ("TEST.AUG.MIN_SIZES", (1, 2)), ("OUTPUT_DIR", "/x"), ("SEED", 3)),
        *(("MODEL.RESNETS.NORM", "naiveSyncBN"), ("SOLVER.WEIGHT_DECAY_BIAS", 1e-4), ("DATALOADER.NUM_WORKERS", 99)),
    ],
)
def test_a_setting_without_effect_is_no_difference(key, value):
    assert match(shipped_protocols()["coco-fpn-1x"].settings | {key: value}).exact


def test_half_the_batch_by_the_rule_is_the_same_protocol_rescaled():
    half = {
        "SOLVER.IMS_PER_BATCH": 8,
        "SOLVER.BASE_LR": 0.01,
        "SOLVER.MAX_ITER": 180000,
        "SOLVER.STEPS": (120000, 160000),
    }
    found = match(shipped_protocols()["coco-c4-1x"].settings | half | {"SOLVER.WARMUP_ITERS": 2000})
    assert found.protocol.name == "coco-c4-1x"
    assert found.rescaled == 2
    assert found.differences == ()


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_duplicate_keys_are_named_and_the_last_counts(tmp_path):
    """As in nine of VISSL's published files: the second RESNETS takes the norm and the depth away."""
    text = "MODEL:\n  RESNETS:\n    NORM: SyncBN\n    DEPTH: 50\n  BACKBONE:\n    FREEZE_AT: 0\n"
    text += "  RESNETS:\n    STRIDE_IN_1X1: False\n"
    found = audit(write(tmp_path / "vissl.yaml", text))
    assert any("RESNETS a second time in line 7" in finding for finding in found.findings)
    assert completed(found.settings)["MODEL.RESNETS.NORM"] == "FrozenBN"  # Detectron2's default: the norm was lost


def test_bases_are_followed_and_missing_ones_named(tmp_path):
    write(tmp_path / "base.yaml", "SOLVER:\n  MAX_ITER: 90000\n  BASE_LR: 0.02\n")
    heir = write(tmp_path / "heir.yaml", "_BASE_: base.yaml\nSOLVER:\n  MAX_ITER: 180000\n")
    assert read_config(heir).settings == {"SOLVER.MAX_ITER": 180000, "SOLVER.BASE_LR": 0.02}
    lonely = write(tmp_path / "lonely.yaml", "_BASE_: no/such.yaml\nSOLVER:\n  MAX_ITER: 5\n")
    assert any("no/such.yaml, which is not here" in text for text in read_config(lonely).findings)
    circle = write(tmp_path / "circle.yaml", "_BASE_: circle.yaml\n")
    assert any("back to itself" in text for text in read_config(circle).findings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("MODEL:\n  WEIGHTS: 'See Instructions'\n", "placeholder"),
        ("SOLVER:\n  STEPS: (16, 22)\n  MAX_ITER: 12\n", "beyond the end"),
        ("MODEL:\n  WEIGHTS: ''\n  BACKBONE: {FREEZE_AT: 2}\n", "frozen at random values"),
        ("INPUT:\n  FORMAT: RGB\n", "neither torchvision's nor MSRA's"),
        ("MODEL:\n  RESNETS: {NORM: SyncBN}\n  WEIGHTS: x.pkl\n", "still freezes stem"),
        ("SOLVER: {REFERENCE_WORLD_SIZE: 8}\n", "silently"),
        ("TEST: {DETECTIONS_PER_IMAGE: 300}\n", "100 at most"),
        ("MODEL:\n  ROI_HEADS: {NAME: Res5ROIHeads}\n", "without the extra norm"),
    ],
)
def test_known_traps_of_published_configs(tmp_path, text, said):
    assert any(said in finding for finding in audit(write(tmp_path / "c.yaml", text)).findings)


def test_msra_s_convention_is_no_trap(tmp_path):
    found = audit(write(tmp_path / "c.yaml", "MODEL:\n  WEIGHTS: 'detectron2://ImageNetPretrained/MSRA/R-50.pkl'\n"))
    assert "input convention: msra" in found.notes
    assert not any("convention" in finding for finding in found.findings)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bomb.yaml", "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))),
        ("self.yaml", "a: &a [*a]\n"),
        ("python.yaml", "a: !!python/object/apply:os.system ['touch TOUCHED']\n"),
        ("list.yaml", "- 1\n- 2\n"),
        ("deep.yaml", "a: " + "{a: " * 200 + "1" + "}" * 200),
        ("broken.yaml", "a: [1, 2\nb: 3"),
        ("empty.yaml", ""),
        ("noise.log", "nothing of interest\n" * 50),
        ("binary.log", "\x00\x01\x02" * 1000),
        ("keys.yaml", "[1, 2]: 3\n"),
    ],
)
def test_files_that_are_no_config_end_in_one_sentence(tmp_path, name, content, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / name, content)
    if name == "python.yaml":
        audit(path)  # the text is read, never run
    else:
        with pytest.raises(UserError):
            audit(path)
    assert not (tmp_path / "TOUCHED").exists()


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.log")
    with pytest.raises(UserError, match="not a regular file"):
        audit(tmp_path / "pipe.log")


LOG = """[07/01 10:00:00 detectron2]: Rank of current process: 0. World size: 1
[07/01 10:00:00 detectron2]: Running with full config:
SOLVER:
  MAX_ITER: 100
[07/01 10:00:01 detectron2]: Full config saved
[07/01 10:00:09 d2.utils.events]:  eta: 0:00:00  iter: {last}  total_loss: {loss}  time: 0.5  lr: 0.02  max_mem: 1000M
"""
SCORED = "[07/01 10:00:10 d2.evaluation.testing]: copypaste: "
EVALUATION = SCORED + "Task: bbox\n" + SCORED + "AP,AP50,AP75,APs\n" + SCORED + "{ap},50.0,20.0,nan\n"


def log_of(tmp_path, *, last=99, loss="1.5", aps=("30.0",)):
    text = LOG.format(last=last, loss=loss) + "".join(EVALUATION.format(ap=ap) for ap in aps)
    return write(tmp_path / "log.txt", text)


def test_a_log_that_ends_early_says_so_and_is_not_imported(tmp_path):
    path = log_of(tmp_path, last=50)
    assert any("before the end of the schedule" in text for text in audit(path).findings)


def test_a_diverged_log_says_so(tmp_path):
    assert any("diverged" in text for text in audit(log_of(tmp_path, loss="nan")).findings)


def test_the_best_of_several_evaluations_is_not_the_result(tmp_path):
    found = audit(log_of(tmp_path, aps=("31.0", "30.0")))
    assert found.log.metrics["bbox"]["AP"] == 30.0
    assert any("flatters" in text for text in found.findings)


def test_missing_values_of_a_log_are_missing(tmp_path):
    assert audit(log_of(tmp_path)).log.metrics["bbox"]["APs"] is None


def test_colours_do_not_matter(tmp_path):
    plain = log_of(tmp_path).read_text()
    coloured = plain.replace("[07/01 10:00:01 detectron2]:", "\x1b[32m[07/01 10:00:01 detectron2]: \x1b[0m")
    coloured = coloured.replace("SOLVER", "\x1b[38;5;197mSOLVER\x1b[39m")
    assert audit(write(tmp_path / "colour.log", coloured)).settings == {"SOLVER.MAX_ITER": 100}


def test_nothing_of_the_audit_imports_torch_or_detectron2():
    program = (
        "import sys\n"
        "from benchmark import check\n"
        "from benchmark.audit import bundle, imported, rescoring, submission, verdict, words\n"
        "assert not {'torch', 'detectron2'} & set(sys.modules), sorted(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_json_for_machines(tmp_path, capsys):
    assert check.main([str(log_of(tmp_path)), "--json"]) in (0, 1)
    (found,) = json.loads(capsys.readouterr().out)
    assert found["metrics"]["bbox"]["AP"] == 30.0
    assert yaml.safe_load(json.dumps(found["findings"])) is not None
