"""The options of ``pretrain/pack.py``. Imports no torch, for the command line."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from benchmark.core.errors import UserError
from benchmark.core.options import check_values, option
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
