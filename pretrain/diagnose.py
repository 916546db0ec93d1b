"""``python pretrain/diagnose.py CHECKPOINT --data DIR``: ranks, spectrum and geometry of a checkpoint's features.

It starts ``transfer/diagnose.py``, which finds the backbone in any file that converts: pretrain imports nothing of
transfer, so one command calls the other. The measures themselves are in ``pretrain/diagnostics``.
"""

import subprocess
import sys

from benchmark.core.errors import run_command
from benchmark.core.folder import ROOT

COMMAND = ROOT / "transfer" / "diagnose.py"


def main(argv: list[str] | None = None) -> int:
    """Run the command with these words; return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    return subprocess.run([sys.executable, str(COMMAND), *words], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(run_command(main))
