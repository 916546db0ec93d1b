"""``python pretrain/run.py --epochs 400``: pre-train a ResNet and leave a checkpoint.

--method M chooses the method; its recipe (recipes/M_imagenet.yaml) gives the defaults. Without --data it trains on the
embedded photographs at sizes that suit a CPU (recipes/M_embedded.yaml) and says so.
Killed at any moment, the same command continues. Several processes: torchrun. More: docs/pretraining.md.
"""

from benchmark.core.errors import run_command
from benchmark.core.folder import RESULTS
from benchmark.core.log import say
from benchmark.core.quiet import ignore_announcements
from pretrain.training.command_line import resolve


def main(argv: list[str] | None = None) -> int:
    """Pre-train as the command line says; return 0. Other endings: ``benchmark.core.errors``."""
    ignore_announcements()
    config = resolve(argv)
    if not config.dry_run:
        where = config.output or f"a folder of its own in {RESULTS / 'runs'}"
        say(f"pre-training by {config.method}, {config.epochs} epochs, begins; it writes into {where}")
    from pretrain.start import start  # late: --help answers without torch

    return start(config)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
