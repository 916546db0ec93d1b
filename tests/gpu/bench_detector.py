"""Fine-tuning at 800 px: seconds an iteration of C4 and FPN, in float32 and bf16, on a process's share of the batch."""

import tempfile
from pathlib import Path

import torch

from pretrain.engine.processes import choose_device
from tests.gpu.measuring import Report, peak_memory, reset_memory, throughput
from tests.gpu.setting import DEVICE, DRY
from transfer.detection.config import DetectionConfig
from transfer.detection.run import prepare
from transfer.detection.trainer import DetectionTrainer
from transfer.detection.work import build

SMALL = ("INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64") if DRY else ()


def measure(protocol: str, precision: str, images: int) -> dict[str, float]:
    """Return seconds an iteration of the trainer, data included (decode and resize by four workers)."""
    reset_memory()
    with tempfile.TemporaryDirectory() as folder:
        config = DetectionConfig(
            weights="random", protocol=protocol, precision=precision, ims_per_batch=images, device=DEVICE.type,
            output=str(Path(folder) / "run"), records=folder, workers=0 if DRY else 4, overrides=SMALL,
        )  # fmt: skip
        run = prepare("coco", config, choose_device(DEVICE.type))
        model, _ = build(run)
        trainer = DetectionTrainer(run.subject.protocol.cfg, model, 0, log_every=10**6)
        trainer.iter = trainer.start_iter = 0
        trainer.before_train()
        took = _steps(trainer)
    return {"seconds an iteration": took, "images/s": images / took, "peak GiB": peak_memory()}


def _steps(trainer: DetectionTrainer) -> float:
    from detectron2.utils.events import EventStorage

    def step() -> None:
        trainer.run_step()
        trainer.iter += 1

    with EventStorage(0) as trainer.storage:
        return throughput(step, repeats=12, warm=5)


def main() -> None:
    """Measure everything; each finding is written at once."""
    report = Report()
    if not DRY:
        torch.backends.cudnn.benchmark = False
    for protocol in ("coco-c4-1x", "coco-fpn-1x"):
        for precision in ("fp32", "bf16"):
            name = f"{protocol}, {precision}, 2 images of 800 px"
            report.attempt(name, lambda p=protocol, q=precision: measure(p, q, 2))
    if not DRY:
        for protocol in ("coco-c4-1x", "coco-fpn-1x"):
            report.attempt(f"{protocol}, bf16, 8 images of 800 px", lambda p=protocol: measure(p, "bf16", 8))


if __name__ == "__main__":
    main()
