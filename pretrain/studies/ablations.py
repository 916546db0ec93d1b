"""``python pretrain/studies/ablations.py``: what the parts of Kernel-SSL do, from a plan and its records.

Groups of settings that differ from one default: terms, alignment, logarithm, kernels, and cells of order, regulariser
and weight. Writes the suite (``suite.yaml``), which ``benchmark/run.py`` runs, and a table and figure of what has run.
"""

from benchmark.core.errors import run_command
from benchmark.core.options import parse
from pretrain.studies.config import AblationConfig

PROG = "python pretrain/studies/ablations.py"
DESCRIPTION = "Write the suite of the ablations of Kernel-SSL, and tables and figure of the records that are there."


def main(argv: list[str] | None = None) -> int:
    """Run the study as the command line says. Raises ``UserError``."""
    config = parse(AblationConfig, argv, PROG, DESCRIPTION)
    from pretrain.studies.ablations_work import study  # late: --help answers at once

    return study(config)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
