"""The options of ``transfer/convert.py``. Imports no torch, for the command line."""

from dataclasses import dataclass
from typing import Literal

from benchmark.core.options import check_values, option
from benchmark.core.value_types import Branch, CountOrZero, PathText


@dataclass(frozen=True)
class ConvertConfig:
    """Options of ``transfer/convert.py``."""

    file: tuple[PathText, ...] = option(
        (), "the checkpoint, as --weights says (may stand without the flag)", group="Input", positional=True
    )
    weights: str | None = option(
        None,
        "the checkpoint: a file, or 'zoo:NAME' (python benchmark/zoo.py lists them), 'hf:OWNER/NAME[/FILE]', "
        "'https://...', 'torchvision:IMAGENET1K_V2'",
        group="Input",
    )
    branch: Branch = option("online", "which encoder of the two", group="Input")
    layout: str | None = option(
        None, "take the file as this layout (docs/conversion.md) or at:ADDRESS; default found by itself", group="Input"
    )
    trust: bool = option(False, "let the file run code when it is read; only if you trust its author", group="Input")
    method: str | None = option(
        None, "pre-training method of a file that does not say it; recorded as stated by you", group="Input"
    )
    epochs_stated: CountOrZero | None = option(
        None, "epochs of pre-training of a file that does not say them; recorded as stated by you", group="Input"
    )
    to: Literal["detectron2", "moco", "torchvision"] = option(
        "detectron2",
        "form of the file: Detectron2 weights, a checkpoint as MoCo's (for its linear probe and converter), or a state "
        "dict of torchvision's ResNet",
        group="Output",
    )
    inspect: bool = option(False, "say what the file holds and write nothing", group="Output")
    output: PathText | None = option(
        None,
        "the file to write; default the checkpoint's name with .detectron2.pth (or as --to says), beside it",
        group="Output",
    )
    overwrite: bool = option(False, "replace --output if it holds something else", group="Output")

    def __post_init__(self) -> None:
        check_values(self)
