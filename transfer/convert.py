"""Any ResNet-50 checkpoint in, Detectron2 weights out (or MoCo's, or torchvision's), or a non-zero exit that says why.

    python transfer/convert.py CHECKPOINT --output FILE.pth [--branch online|momentum] [--layout L] [--trust]
    python transfer/convert.py zoo:NAME|hf:REPO|https://... --output FILE.pth
    python transfer/convert.py CHECKPOINT --to moco|torchvision
    python transfer/convert.py CHECKPOINT --inspect

Strict: all 265 tensors of the backbone with their shapes and finite values, or nothing. docs/conversion.md has the
layouts; ``transfer/checkpoints`` finds them and opens files without executing anything in them.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.core.errors import UserError, run_command
from benchmark.core.options import check_choices, option, parse
from benchmark.core.value_types import CountOrZero, PathText

_SUFFIXES = re.compile(r"(?<=.)(\.(pth|pt|tar|ckpt|pkl|safetensors|torch|bin))+$")


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
    branch: str = option("online", "which encoder of the two", group="Input", choices=("online", "momentum"))
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
    to: str = option(
        "detectron2",
        "form of the file: Detectron2 weights, a checkpoint as MoCo's (for its linear probe and converter), or a state "
        "dict of torchvision's ResNet",
        group="Output",
        choices=("detectron2", "moco", "torchvision"),
    )
    inspect: bool = option(False, "say what the file holds and write nothing", group="Output")
    output: PathText | None = option(
        None,
        "the file to write; default the checkpoint's name with .detectron2.pth (or as --to says), beside it",
        group="Output",
    )
    overwrite: bool = option(False, "replace --output if it holds something else", group="Output")


def __getattr__(name: str) -> Any:
    """Give ``convert_checkpoint`` on first use, so that ``--help`` and mistakes answer without torch."""
    if name == "convert_checkpoint":
        from transfer.checkpoints.conversion import convert_checkpoint

        return convert_checkpoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main(argv: list[str] | None = None) -> int:
    """Convert or inspect one file as the command line says; 0 when done."""
    config = parse(ConvertConfig, argv, "transfer/convert.py", "Convert a ResNet-50 checkpoint to Detectron2 weights.")
    check_choices(config)
    words = [*config.file, *([config.weights] if config.weights else [])]
    if len(words) != 1:
        raise UserError(f"{len(words)} files are given; write transfer/convert.py CHECKPOINT --output FILE.pth.")
    output = Path(config.output) if config.output else default_output(words[0], config.to)
    if output.resolve() == Path(words[0]).resolve():
        raise UserError(f"--output {output} is the checkpoint itself; choose another name.")
    return inspect(config, words[0]) if config.inspect else convert(config, words[0], output)


def default_output(word: str, form: str) -> Path:
    """Return where the converted file goes: beside a file of this machine, here for a published one."""
    from benchmark.catalogue.obtain import names_a_published_file

    path = Path(re.split(r"[/:]", word)[-1]) if names_a_published_file(word) else Path(word)
    if not path.name:
        raise UserError(f"{word} is a folder; give the path of a checkpoint.")
    return path.with_name(_SUFFIXES.sub("", path.name) + f".{form}" + (".pth.tar" if form == "moco" else ".pth"))


def inspect(config: ConvertConfig, word: str) -> int:
    """Print what the file holds."""
    from transfer.checkpoints.inspection import inspect_file
    from transfer.checkpoints.sources import locate

    published = locate(word)
    path = published.path if published else Path(word)
    print(inspect_file(path, branch=config.branch, layout=config.layout, trust=config.trust))
    return 0


def convert(config: ConvertConfig, word: str, output: Path) -> int:
    """Convert the file into `output`."""
    from transfer.checkpoints.conversion import find_backbone, write_converted
    from transfer.checkpoints.exports import FORMS

    backbone = find_backbone(
        word,
        branch=config.branch,
        layout=config.layout,
        trust=config.trust,
        method=config.method,
        epoch=config.epochs_stated,
    )
    new = write_converted(output, FORMS[config.to](backbone), overwrite=config.overwrite)
    about = ", ".join(f"{key} {value}" for key, value in backbone.source().items() if value is not None)
    print(f"{len(backbone.tensors)} of {len(backbone.tensors)} tensors ({about})")
    print(f"written to {output}" if new else f"{output} already holds exactly this")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
