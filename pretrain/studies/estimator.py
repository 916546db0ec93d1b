"""``python pretrain/studies/estimator.py``: when is the Taylor loss a good estimator?

Exact kernel KL divergence and exact loss against those of order K, in value and in gradient, for several regularisers
mu and for features that are spread, clustered and collapsed, or those of a checkpoint.
"""

from benchmark.core.errors import run_command
from benchmark.core.options import parse
from pretrain.studies.config import EstimatorConfig

PROG = "python pretrain/studies/estimator.py"
DESCRIPTION = (
    "Compare the Kernel-SSL loss of order K with the exact logarithm's, and with the exact kernel KL divergence, in "
    "value and gradient; on synthetic features and, with --weights, on those of a checkpoint."
)


def main(argv: list[str] | None = None) -> int:
    """Run the study as the command line says. Raises ``UserError``."""
    config = parse(EstimatorConfig, argv, PROG, DESCRIPTION)
    from pretrain.studies.estimator_work import study  # late: --help answers without torch

    return study(config)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
