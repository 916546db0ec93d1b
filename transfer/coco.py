"""``python transfer/coco.py --weights CHECKPOINT``: fine-tune Mask R-CNN on COCO under an audited protocol.

Killed at any moment, the same command continues. Several processes: torchrun.
"""

from benchmark.core.errors import run_command
from transfer.detection.launch import launch

PROG = "python transfer/coco.py"
DESCRIPTION = (
    "Fine-tune a detector on COCO's layout from any ResNet-50 checkpoint, evaluate it, and record the result. Without "
    "--data: the embedded photographs, at sizes that suit a CPU. KEY VALUE pairs override Detectron2's config."
)


def main(argv: list[str] | None = None) -> int:
    """Fine-tune or evaluate as the command line says. Raises ``UserError`` and ``RunFailed``."""
    return launch("coco", argv, PROG, DESCRIPTION)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
