"""Any ResNet-50 checkpoint in, Detectron2 weights out (or MoCo's, or torchvision's), or a non-zero exit that says why.

    python transfer/convert.py CHECKPOINT --output FILE.pth [--branch online|momentum] [--layout L] [--trust]
    python transfer/convert.py zoo:NAME|hf:REPO|https://... --output FILE.pth
    python transfer/convert.py CHECKPOINT --to moco|torchvision
    python transfer/convert.py CHECKPOINT --inspect

Strict: all 265 tensors of the backbone with their shapes and finite values, or nothing. docs/conversion.md has the
layouts; ``transfer/checkpoints`` finds them and opens files without executing anything in them.
"""

from types import ModuleType
from typing import Any

from benchmark.core.errors import UserError, run_command
from benchmark.core.options import parse
from transfer.checkpoints.config import ConvertConfig

PROG = "transfer/convert.py"


def __getattr__(name: str) -> Any:
    """Give ``convert_checkpoint`` on first use, so that ``--help`` and mistakes answer without torch."""
    if name == "convert_checkpoint":
        return _work().convert_checkpoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main(argv: list[str] | None = None) -> int:
    """Convert or inspect one file as the command line says; 0 when done."""
    config = parse(ConvertConfig, argv, PROG, "Convert a ResNet-50 checkpoint to Detectron2 weights.")
    words = [*config.file, *([config.weights] if config.weights else [])]
    if len(words) != 1:
        raise UserError(f"{len(words)} files are given; write {PROG} CHECKPOINT --output FILE.pth.")
    return _work().start(config, words[0])


def _work() -> ModuleType:
    """Import what opens checkpoints; late: --help answers without torch."""
    from transfer.checkpoints import start

    return start


if __name__ == "__main__":
    raise SystemExit(run_command(main))
