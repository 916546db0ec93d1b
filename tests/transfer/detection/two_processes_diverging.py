"""What test_two_processes.py runs: fine-tuning in which the second process alone meets numbers that are not finite.

``torchrun two_processes_diverging.py STEP FLAG ...``: in that step, or with ``statistics`` while the statistics of
batch norm are averaged, the second process's search for regions finds boxes that are not finite.
"""

import math
import sys

import torch

from pretrain.engine import processes
from transfer import coco
from transfer.detection.trainer import DetectionTrainer


def spoil(trainer: DetectionTrainer) -> None:
    """Make the box regression of the RPN not finite, on the second process alone."""
    if processes.rank() == 1:
        with torch.no_grad():
            trainer.model.proposal_generator.rpn_head.anchor_deltas.bias.fill_(math.nan)


def main(when: str, flags: list[str]) -> int:
    """Fine-tune with the flaw."""
    step, average = DetectionTrainer.run_step, DetectionTrainer.compute_precise_statistics

    def run_step(self: DetectionTrainer) -> None:
        if str(self.iteration) == when:
            spoil(self)
        step(self)

    def compute_precise_statistics(self: DetectionTrainer, iterations: int) -> None:
        if when == "statistics":
            spoil(self)
        average(self, iterations)

    DetectionTrainer.run_step, DetectionTrainer.compute_precise_statistics = run_step, compute_precise_statistics
    return coco.run_command(coco.main, flags)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2:]))
