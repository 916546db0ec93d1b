"""``python benchmark/run.py --suite demo``: all runs of one comparison, on this machine or on a Slurm cluster.

A suite is a YAML file (``runner/suite.py`` says how it is written). Every run is the command that a person would type,
in its own process and folder; a suite that was interrupted continues with the same command.
"""

from benchmark.core.errors import run_command
from benchmark.core.options import parse
from benchmark.runner.config import SuiteConfig

DESCRIPTION = "Run a suite: every pre-training and fine-tuning run of one comparison, then the report."


def main(argv: list[str] | None = None) -> int:
    """Run, plan or cancel a suite. Raises ``UserError``, and ``RunFailed`` when a run did not complete."""
    config = parse(SuiteConfig, argv, "python benchmark/run.py", DESCRIPTION)
    from benchmark.runner.start import start  # late: --help answers without scipy

    return start(config)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
