"""Fine-tuning as users call it: sweep, few labels, precise statistics, two processes, real COCO images."""

import pytest
import torch
from detectron2.utils.events import EventStorage

from benchmark.core.errors import RunFailed, UserError
from benchmark.core.files import write_json
from benchmark.core.folder import ROOT
from benchmark.core.options import parse
from tests.transfer.runs import claim_for, coco_root, flags, lines, start, the_record, with_objects
from transfer import coco
from transfer.detection.batches import STATISTICS
from transfer.detection.config import DetectionConfig
from transfer.detection.result import DETECTOR, RESULT
from transfer.detection.run import prepare
from transfer.detection.trainer import DetectionTrainer
from transfer.detection.work import build

COCO600 = ROOT.parent / "shared" / "data" / "coco600"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return coco_root(tmp_path_factory.mktemp("data"))


def test_a_sweep_chooses_on_a_hold_out_and_records_the_grid(tmp_path_factory, tmp_path):
    data = coco_root(tmp_path_factory.mktemp("sweep"), train=20, val=2)
    words = ["SOLVER.MAX_ITER", "2", "SOLVER.WARMUP_ITERS", "0"]
    # Two candidates are known already, as after an interruption; the third diverges for real.
    for lr, found in (("0.01", 2.0), ("0.02", 1.0)):
        write_json(tmp_path / "run" / "sweep" / f"lr-{lr}" / RESULT, {"bbox": {"AP": found}})
    arguments = flags(tmp_path, data, *words, sweep_lr="0.02,0.01,1e12", checkpoint_every=1)
    with pytest.raises(UserError, match="holds no run of ours"):
        coco.main(arguments)
    claim_for(tmp_path / "run", arguments)
    assert coco.main(arguments) == 0
    record = the_record(tmp_path)
    grid = record.details["sweep"]
    assert grid["candidates"] == {"0.02": 1.0, "0.01": 2.0, "1e+12": "diverged"}
    assert grid["holdout_images"] == 2
    assert (record.details["lr"], record.details["lr_chosen_by"]) == (0.01, "sweep")
    assert record.details["train_images"] == with_objects(data) > 16  # the final run trains on all of them


def test_a_sweep_that_only_diverges_is_recorded_with_its_grid(data, tmp_path):
    arguments = flags(tmp_path, data, sweep_lr="1e12,1e13", checkpoint_every=1)
    with pytest.raises(RunFailed, match="no learning rate of the sweep gave a result"):
        coco.main(arguments)
    record = the_record(tmp_path)
    assert record.status == "diverged"
    assert record.details["sweep"]["candidates"] == {"1e+12": "diverged", "1e+13": "diverged"}


def test_precise_statistics_replace_the_running_ones_alone(data, tmp_path):
    """The means and variances of two batches, averaged; weights stay the last step's."""
    words = ["SOLVER.MAX_ITER", "1", "SOLVER.WARMUP_ITERS", "0"]
    words += ["TEST.PRECISE_BN.ENABLED", "True", "TEST.PRECISE_BN.NUM_ITER", "2"]
    arguments = flags(tmp_path, data, *words)
    assert coco.main(arguments) == 0
    before = torch.load(tmp_path / "run" / "checkpoint.pth", weights_only=True)["model"]
    after = torch.load(tmp_path / "run" / DETECTOR, weights_only=True)["model"]
    changed = {name.rpartition(".")[2] for name in before if not torch.equal(before[name], after[name])}
    assert {"running_mean", "running_var"} <= changed <= {"running_mean", "running_var", "num_batches_tracked"}

    run = prepare("coco", parse(DetectionConfig, arguments, "", ""), torch.device("cpu"))
    trainer = DetectionTrainer(run.subject.protocol.cfg, build(run)[0], 0)
    trainer.model.load_state_dict(before)
    means = []
    stem = trainer.model.backbone.bottom_up.stem.conv1
    stem.norm.register_forward_pre_hook(lambda _, inputs: means.append(inputs[0].mean((0, 2, 3))))
    with EventStorage(), torch.no_grad():
        for batch in trainer.batches_of(0, 2, purpose=STATISTICS):
            trainer.model(batch)
    assert torch.allclose(after["backbone.bottom_up.stem.conv1.norm.running_mean"], sum(means) / 2, atol=1e-5)


def test_a_fraction_trains_on_its_images_alone(tmp_path_factory, tmp_path):
    data = coco_root(tmp_path_factory.mktemp("fraction"), train=30, val=2)
    words = ["SOLVER.MAX_ITER", "1", "SOLVER.WARMUP_ITERS", "0"]
    assert coco.main(flags(tmp_path, data, *words, fraction=0.1)) == 0
    details = the_record(tmp_path).details
    assert (details["fraction"], details["train_images"], len(details["image_ids"])) == (0.1, 3, 3)


def test_two_processes_by_torchrun(data, tmp_path):
    process = start(flags(tmp_path, data, "SOLVER.MAX_ITER", "3"), processes=2)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output[-3000:]
    record = the_record(tmp_path)
    assert (record.status, record.details["norm"], record.hardware["processes"]) == ("completed", "naiveSyncBN", 2)
    assert record.details["norms"] == {"NaiveSyncBatchNorm": 53}
    assert [line["iteration"] for line in lines(tmp_path)] == [1, 2, 3]
    assert output.count("record ") == 1  # one process speaks


def test_a_mistake_under_torchrun_is_told_once(data, tmp_path):
    process = start(flags(tmp_path, data, weights="absent.pth"), processes=2)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert output.count("error: there is no file absent.pth") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not COCO600.is_dir(), reason="the 600 images of COCO are not here")
def test_real_images_in_coco_s_own_layout(tmp_path):
    words = ["SOLVER.MAX_ITER", "2", "SOLVER.WARMUP_ITERS", "0", "MODEL.RPN.POST_NMS_TOPK_TEST", "10"]
    words += ["TEST.DETECTIONS_PER_IMAGE", "10"]
    assert coco.main(flags(tmp_path, COCO600, *words)) == 0
    record = the_record(tmp_path)
    assert (record.status, record.details["test_images"]) == ("completed", 302)
    assert sum(key.startswith("AP-") for key in record.metrics["bbox"]) == 80
    assert record.metrics["bbox"]["AP"] is not None
