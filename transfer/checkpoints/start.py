"""From the options of ``transfer/convert.py`` to a converted file, or to what ``--inspect`` prints."""

import re
from pathlib import Path

from benchmark.catalogue.obtain import names_a_published_file
from benchmark.core.errors import UserError
from transfer.checkpoints.config import ConvertConfig
from transfer.checkpoints.conversion import convert_checkpoint, find_backbone, write_converted
from transfer.checkpoints.exports import FORMS
from transfer.checkpoints.inspection import inspect_file
from transfer.checkpoints.sources import locate

__all__ = ["convert_checkpoint", "start"]

SUFFIXES = re.compile(r"(?<=.)(\.(pth|pt|tar|ckpt|pkl|safetensors|torch|bin))+$")


def start(config: ConvertConfig, word: str) -> int:
    """Convert or inspect the file that `word` names; 0 when done. Raises ``UserError``."""
    output = Path(config.output) if config.output else default_output(word, config.to)
    if output.resolve() == Path(word).resolve():
        raise UserError(f"--output {output} is the checkpoint itself; choose another name.")
    return inspect(config, word) if config.inspect else convert(config, word, output)


def default_output(word: str, form: str) -> Path:
    """Return where the converted file goes: beside a file of this machine, here for a published one."""
    path = Path(re.split(r"[/:]", word)[-1]) if names_a_published_file(word) else Path(word)
    if not path.name:
        raise UserError(f"{word} is a folder; give the path of a checkpoint.")
    return path.with_name(SUFFIXES.sub("", path.name) + f".{form}" + (".pth.tar" if form == "moco" else ".pth"))


def inspect(config: ConvertConfig, word: str) -> int:
    """Print what the file holds."""
    published = locate(word)
    path = published.path if published else Path(word)
    print(inspect_file(path, branch=config.branch, layout=config.layout, trust=config.trust))
    return 0


def convert(config: ConvertConfig, word: str, output: Path) -> int:
    """Convert the file into `output`."""
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
