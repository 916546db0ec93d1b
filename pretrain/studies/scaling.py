"""``python pretrain/studies/scaling.py``: how fast a step of Kernel-SSL is on more GPUs, predicted from one.

The model is ``benchmark/runner/step_time.py``: what one card was measured to do, and assumptions about what connects
the cards. With --measure the same model is checked on this machine against two processes that talk over gloo.
"""

from benchmark.core.errors import run_command
from benchmark.core.options import parse
from pretrain.studies.config import ScalingConfig

PROG = "python pretrain/studies/scaling.py"
DESCRIPTION = (
    "Predict the time of a Kernel-SSL step (ResNet-50, 224 px) on several GPUs from one measured card and assumed "
    "links; with --measure, check the model against two processes on this machine."
)


def main(argv: list[str] | None = None) -> int:
    """Run the study as the command line says. Raises ``UserError``."""
    config = parse(ScalingConfig, argv, PROG, DESCRIPTION)
    from pretrain.studies.scaling_work import study  # late: --help answers without torch

    return study(config)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
