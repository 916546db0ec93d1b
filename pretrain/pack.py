"""``python pretrain/pack.py FOLDER SHARDS``: pack a folder of images into tar shards, which ``--data`` reads.

The shards are those of webdataset: one sample an image, ``KEY.jpg`` and, where the folder has class folders,
``KEY.cls``. Names, order and, without --resize, contents are the folder's, so a run on the shards is the run on the
folder. An index beside them holds where every image lies and its checksum. Killed at any moment, the same command
continues, and the result is that of an uninterrupted one. More: docs/images.md.
"""

import warnings
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from benchmark.core.errors import UserError, run_command
from benchmark.core.options import check_values, option, parse
from benchmark.core.value_types import Workers

Megabytes = Annotated[int, Field(ge=1, le=1_000_000)]
Side = Annotated[int, Field(gt=0, le=16384)]
Quality = Annotated[int, Field(ge=1, le=100)]


@dataclass(frozen=True)
class PackConfig:
    """What is packed, and how."""

    folders: tuple[str, ...] = option(
        (), "the folder of images, then the folder of shards; --verify needs only the second", group="Folders",
        positional=True, short="FOLDER SHARDS",
    )  # fmt: skip
    shard_mb: Megabytes = option(256, "size of a shard, in MB; the last image may exceed it", group="Packing")
    resize: Side | None = option(
        None,
        "shorter side in px to which larger images are resized; smaller ones are kept as they are",
        group="Packing",
    )
    quality: Quality = option(95, "of the JPEG and WebP files that --resize writes", group="Packing")
    skip_unreadable: bool = option(
        False, "leave images out that cannot be read, and say so in the index", group="Packing"
    )
    workers: Workers = option(2, "processes that read and check images; 0: none", group="Run")
    verify: bool = option(False, "read all shards again and compare them with their checksums", group="Run")
    dry_run: bool = option(False, "say what would be written, and how long it takes", group="Run")

    def __post_init__(self) -> None:
        check_values(self)
        if self.verify and self.dry_run:
            raise UserError("--verify and --dry-run are two commands; give one of them.")
        if len(self.folders) > 2 or len(self.folders) < (1 if self.verify else 2):
            raise UserError(f"{len(self.folders)} folders are given; write pretrain/pack.py FOLDER SHARDS.")
        if not all(folder.strip() and "\0" not in folder for folder in self.folders):
            raise UserError("a folder's name is empty or holds a null character; write pretrain/pack.py FOLDER SHARDS.")


def main(argv: list[str] | None = None) -> int:
    """Pack, plan or verify as the command line says; return 0. Other endings: ``benchmark.core.errors``."""
    config = parse(
        PackConfig, argv, "python pretrain/pack.py",
        "Pack a folder of images (class folders or flat) into tar shards for --data, which webdataset reads too.",
    )  # fmt: skip
    warnings.filterwarnings("ignore", message=".*worker processes in total.*")  # reading waits for the disk too
    # Imported late so that --help and mistakes answer at once.
    from pretrain.packing.plan import print_plan
    from pretrain.packing.settings import Packing
    from pretrain.packing.verify import verify
    from pretrain.packing.work import pack

    folder, shards = (*config.folders[:-1], ""), config.folders[-1]
    how = Packing(config.shard_mb, config.resize, config.quality if config.resize else None)
    if config.verify:
        verify(shards)
    elif config.dry_run:
        print_plan(folder[0], shards, how, config.workers)
    else:
        pack(folder[0], shards, how, config.workers, config.skip_unreadable)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
