"""``python pretrain/studies/miniature.py``: the claim in miniature, from its plan and its records.

Writes beside the plan what the records so far allow: the suite of the search for learning rates, its result and the
suite of the study, then tables and figure. ``benchmark/run.py`` runs the suites; this command may be given at any time.
"""

from benchmark.core.errors import run_command
from benchmark.core.options import parse
from pretrain.studies.config import MiniatureConfig

PROG = "python pretrain/studies/miniature.py"
DESCRIPTION = "Write the suites of the miniature study, and tables and figure of the records that are there."


def main(argv: list[str] | None = None) -> int:
    """Run the study as the command line says. Raises ``UserError``."""
    config = parse(MiniatureConfig, argv, PROG, DESCRIPTION)
    from pretrain.studies.miniature_work import study  # late: --help answers at once

    return study(config)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
