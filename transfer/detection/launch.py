"""From the command line of coco.py and voc.py to their options, without torch."""

from benchmark.core.options import parse
from benchmark.core.quiet import ignore_announcements
from transfer.detection.config import DetectionConfig


def launch(kind: str, argv: list[str] | None, prog: str, description: str) -> int:
    """Run a command on data of `kind`, ``coco`` or ``voc``; return 0. Other endings: ``benchmark.core.errors``."""
    config = parse(DetectionConfig, argv, prog, description)
    ignore_announcements()
    from transfer.detection.start import start  # late: --help answers without torch

    return start(kind, config)
