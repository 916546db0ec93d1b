"""The options of ``transfer/diagnose.py``. Imports no torch, for the command line."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from benchmark.core.errors import UserError
from benchmark.core.options import check_values, option
from benchmark.core.value_types import Architecture, Branch, Count, CountOrZero, Device, PathText, Seed


@dataclass(frozen=True)
class DiagnoseConfig:
    """Options of ``transfer/diagnose.py``."""

    file: tuple[str, ...] = option(
        (), "the checkpoint, as --weights says (may stand without the flag)", group="Input", positional=True
    )
    weights: str | None = option(
        None, "the checkpoint: a file, 'random', 'zoo:NAME', 'hf:OWNER/NAME', 'https://...'", group="Input"
    )
    branch: Branch = option("online", "which encoder of the two", group="Input")
    arch: Architecture = option("resnet50", "encoder of 'random'", group="Input")
    layout: str | None = option(None, "layout of a foreign checkpoint; default: recognised", group="Input")
    trust: bool = option(False, "let the file run code when it is read; only if you trust its author", group="Input")

    data: PathText | None = option(
        None, "image folder; class folders give the rank inside classes; default embedded photographs", group="Sample"
    )
    images: Count = option(1000, "images looked at, evenly spaced over the folder", group="Sample")
    image_size: Annotated[int, Field(ge=8, le=4096)] = option(
        224, "side of the centre crops and views, in px", group="Sample"
    )
    views: Annotated[int, Field(ge=0, le=1000)] = option(
        4, "augmented views of each image, for alignment and LiDAR; 0: none", group="Sample"
    )
    bootstrap: CountOrZero = option(50, "samples of the images that give the intervals; 0: none", group="Sample")
    seed: Seed = option(0, "of views and intervals, and of 'random'", group="Sample")

    batch_size: Annotated[int, Field(ge=1, le=65536)] = option(64, "images in a forward pass", group="Run")
    device: Device = option("auto", "where to compute", group="Run")
    output: PathText | None = option(
        None, "the JSON file to write; default results/diagnostics/<checkpoint>-<key>.json", group="Run"
    )

    def __post_init__(self) -> None:
        check_values(self)
        if self.images < 2:
            raise UserError("--images is 1; diagnostics compare images, so give at least 2.")
        if self.views == 1:
            raise UserError("--views is 1; alignment compares views, so give at least 2, or 0 for none.")
        if self.bootstrap == 1:
            raise UserError("--bootstrap is 1; an interval needs 2 samples or more, or 0 for none.")

    @property
    def word(self) -> str:
        """What names the checkpoint."""
        words = [*self.file, *([self.weights] if self.weights else [])]
        if len(words) != 1:
            raise UserError(
                f"{len(words)} checkpoints are given; write python transfer/diagnose.py CHECKPOINT --data DIR."
            )
        return words[0]
