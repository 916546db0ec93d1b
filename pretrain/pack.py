"""``python pretrain/pack.py FOLDER SHARDS``: pack a folder of images into tar shards, which ``--data`` reads.

The shards are those of webdataset: one sample an image, ``KEY.jpg`` and, where the folder has class folders,
``KEY.cls``. Names, order and, without --resize, contents are the folder's, so a run on the shards is the run on the
folder. An index beside them holds where every image lies and its checksum. Killed at any moment, the same command
continues, and the result is that of an uninterrupted one. More: docs/images.md.
"""

from benchmark.core.errors import run_command
from benchmark.core.options import parse
from benchmark.core.quiet import ignore_announcements
from pretrain.packing.config import PackConfig

PROG = "python pretrain/pack.py"
DESCRIPTION = "Pack a folder of images (class folders or flat) into tar shards for --data, which webdataset reads too."


def main(argv: list[str] | None = None) -> int:
    """Pack, plan or verify as the command line says; return 0. Other endings: ``benchmark.core.errors``."""
    config = parse(PackConfig, argv, PROG, DESCRIPTION)
    ignore_announcements()
    from pretrain.packing.start import start  # late: --help answers without torch

    return start(config)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
