"""What test_run.py runs in two gloo processes: ``torchrun two_processes_evaluating.py FOLDER``."""

import sys
from pathlib import Path

import torch
from detectron2.data import DatasetCatalog

from benchmark.core.files import write_json
from pretrain.engine import processes as distributed
from tests.transfer.evaluation.oracle import Oracle, coco_data, config, voc_data
from transfer.evaluation.coco_ap import CocoEvaluator
from transfer.evaluation.run import run_evaluation


def measure():
    """Return metrics and predictions of both data sets, and of a sampler that gave some images to two processes."""
    coco, voc = coco_data(), voc_data()
    model = Oracle(*coco.test, jitter=6.0)
    found = {"coco": run_evaluation(model, config(), coco), "seen": model.seen}
    found["voc"] = run_evaluation(Oracle(*voc.test, jitter=6.0), config(masks=False), voc)
    judge = CocoEvaluator(coco.ground_truth(), coco.category_ids, ("bbox",))
    records = DatasetCatalog.get(*coco.test)
    share = records[distributed.rank() :: distributed.world_size()] + records[:3]
    with torch.no_grad():
        judge.process(share, model.eval()(share))
    found["doubled"] = judge.evaluate(), judge.predictions
    return found


def main(folder):
    """Write what this process found to FOLDER/<rank>.json."""
    distributed.initialise(distributed.choose_device("cpu"))
    write_json(folder / f"{distributed.rank()}.json", measure())
    distributed.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
