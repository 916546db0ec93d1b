"""What test_two_processes.py runs in two gloo processes: ``torchrun two_processes_training.py FOLDER FLAG ...``."""

import sys
from pathlib import Path

import torch

from benchmark.core.options import parse
from pretrain.engine import processes as distributed
from transfer.detection.config import DetectionConfig
from transfer.detection.run import prepare
from transfer.detection.trainer import DetectionTrainer
from transfer.detection.work import build


def main(folder: Path, flags: list[str]) -> None:
    """Train two steps and write this process's weights and the images that it saw to FOLDER/<rank>.pt."""
    device = torch.device("cpu")
    distributed.initialise(device)
    run = prepare("coco", parse(DetectionConfig, flags, "", ""), device)
    trainer = DetectionTrainer(run.subject.protocol.cfg, build(run)[0], seed=0)
    seen = [[item["image_id"] for item in batch] for batch in trainer.batches_of(0, 2)]
    trainer.train(0, 2)
    weights = {name: parameter.detach() for name, parameter in trainer.model.named_parameters()}
    torch.save({"weights": weights, "seen": seen}, folder / f"{distributed.rank()}.pt")
    distributed.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
