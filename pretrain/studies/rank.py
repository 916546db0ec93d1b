"""``python pretrain/studies/rank.py``: what the objective prefers, by rank, and where gradient descent ends.

The closed form of a flat spectrum (branches agree), and free feature matrices optimised directly.
"""

from benchmark.core.errors import run_command
from benchmark.core.options import parse
from pretrain.studies.config import RankConfig

PROG = "python pretrain/studies/rank.py"
DESCRIPTION = (
    "Draw the Kernel-SSL loss against the rank of the features where the branches agree (closed form), and the "
    "effective rank of free feature matrices while gradient descent optimises them (no network)."
)


def main(argv: list[str] | None = None) -> int:
    """Run the study as the command line says. Raises ``UserError``."""
    config = parse(RankConfig, argv, PROG, DESCRIPTION)
    from pretrain.studies.rank_work import study  # late: --help answers without torch

    return study(config)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
