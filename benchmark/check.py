"""``python benchmark/check.py PATH ...``: audit a Detectron2 log, a config, a run folder, or records, of anyone.

A log, config or run folder is compared with our protocols: which one is it, which settings differ and what that is
known to do, which weights, which AP, at what cost. Records (a file, or a folder of them) are audited as a submission.
Imports neither torch nor Detectron2. Exit code 0: no finding; 1: findings, each in a sentence; 2: cannot be read.
"""

from benchmark.audit.config import CheckConfig
from benchmark.core.errors import UserError, run_command
from benchmark.core.options import parse

PROG = "python benchmark/check.py"
DESCRIPTION = "Audit logs and configs of Detectron2, run folders, and folders of records, of anyone."


def main(argv: list[str] | None = None) -> int:
    """Audit what the command line names; return 0 without findings and 1 with some. Raises ``UserError``."""
    config = parse(CheckConfig, argv, PROG, DESCRIPTION)
    if not config.paths:
        raise UserError(f"name a log, a config, a run folder or records to audit; see {PROG} --help.")
    from benchmark.audit.start import start  # late: --help answers at once

    return start(config)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
