"""``python pretrain/studies/over_training.py``: does the rank of features tell how good they are, during training?

From the checkpoints that the miniature study keeps of its 2E runs. The command writes the suite that probes them (those
that are there), and of what has been probed a table, the rank correlations inside each method, and a figure.
"""

from benchmark.core.errors import run_command
from benchmark.core.options import parse
from pretrain.studies.config import OverTrainingConfig

PROG = "python pretrain/studies/over_training.py"
DESCRIPTION = "Compare effective ranks and accuracies over training, method by method."


def main(argv: list[str] | None = None) -> int:
    """Run the study as the command line says. Raises ``UserError``."""
    config = parse(OverTrainingConfig, argv, PROG, DESCRIPTION)
    from pretrain.studies.over_training_work import study  # late: --help answers at once

    return study(config)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
