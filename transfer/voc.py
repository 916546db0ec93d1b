"""``python transfer/voc.py --weights CHECKPOINT``: fine-tune Faster R-CNN on VOC 07+12 under an audited protocol.

Killed at any moment, the same command continues. Several processes: torchrun.
"""

from benchmark.core.errors import run_command
from transfer.detection.launch import launch

PROG = "python transfer/voc.py"
DESCRIPTION = (
    "Fine-tune a detector on VOC's layout from any ResNet-50 checkpoint, evaluate it on the 2007 test set, and record "
    "the result. Without --data: the embedded photographs, at sizes that suit a CPU."
)


def main(argv: list[str] | None = None) -> int:
    """Fine-tune or evaluate as the command line says. Raises ``UserError`` and ``RunFailed``."""
    return launch("voc", argv, PROG, DESCRIPTION)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
