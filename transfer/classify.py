"""``python transfer/classify.py --weights CHECKPOINT``: linear probe and k-NN on the frozen encoder.

The features of an image folder (train/ and validation/ with class folders) are computed once and kept; the probe then
takes seconds. Without --data: the embedded photographs, composed by category.
"""

from benchmark.core.errors import run_command
from benchmark.core.options import parse
from benchmark.core.quiet import ignore_announcements
from transfer.probing.config import ClassifyConfig

PROG = "python transfer/classify.py"
DESCRIPTION = "Classify images by a linear probe and by k-NN on the frozen features of a pre-trained encoder."


def main(argv: list[str] | None = None) -> int:
    """Probe as the command line says; return 0. Other endings: ``benchmark.core.errors``."""
    config = parse(ClassifyConfig, argv, PROG, DESCRIPTION)
    ignore_announcements()
    from transfer.probing.start import start  # late: --help answers without torch

    return start(config)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
