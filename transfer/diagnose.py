"""What the features of a checkpoint look like: effective ranks, spectrum, geometry, with intervals.

    python transfer/diagnose.py CHECKPOINT --data DIR       (python pretrain/diagnose.py is the same)

Any checkpoint that converts (docs/conversion.md); the projector too where the file is a checkpoint of ours. The work
is in ``pretrain/diagnostics``, which knows features only; finding a backbone in a file is transfer's.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from benchmark.core.errors import UserError, run_command
from benchmark.core.options import option, parse
from benchmark.core.value_types import Count, CountOrZero, PathText, Seed

PROG = "python transfer/diagnose.py"
DESCRIPTION = "Measure effective ranks, spectrum and geometry of the features of a checkpoint on a sample of images."


@dataclass(frozen=True)
class DiagnoseConfig:
    """Options of ``transfer/diagnose.py``."""

    file: tuple[str, ...] = option(
        (), "the checkpoint, as --weights says (may stand without the flag)", group="Input", positional=True
    )
    weights: str | None = option(
        None, "the checkpoint: a file, 'random', 'zoo:NAME', 'hf:OWNER/NAME', 'https://...'", group="Input"
    )
    branch: str = option("online", "which encoder of the two", group="Input", choices=("online", "momentum"))
    arch: str = option("resnet50", "encoder of 'random'", group="Input", choices=("resnet18", "resnet50"))
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
    device: str = option("auto", "where to compute", group="Run", choices=("auto", "cpu", "cuda"))
    output: PathText | None = option(
        None, "the JSON file to write; default results/diagnostics/<checkpoint>-<key>.json", group="Run"
    )

    def __post_init__(self) -> None:
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
            raise UserError(f"{len(words)} checkpoints are given; write {PROG} CHECKPOINT --data DIR.")
        return words[0]


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write as the command line says; 0 when done."""
    config = parse(DiagnoseConfig, argv, PROG, DESCRIPTION)
    word, output = config.word, Path(config.output) if config.output else None
    if output is not None and output.is_dir():
        raise UserError(f"--output {output} is a folder; give the name of a file.")
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
    from transfer.probing.diagnosis import diagnose  # late, so that --help and mistakes answer without torch

    diagnose(config, word, output)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
