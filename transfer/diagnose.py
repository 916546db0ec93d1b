"""What the features of a checkpoint look like: effective ranks, spectrum, geometry, with intervals.

    python transfer/diagnose.py CHECKPOINT --data DIR       (python pretrain/diagnose.py is the same)

Any checkpoint that converts (docs/conversion.md); the projector too where the file is a checkpoint of ours. The work
is in ``pretrain/diagnostics``, which knows features only; finding a backbone in a file is transfer's.
"""

from pathlib import Path

from benchmark.core.errors import UserError, run_command
from benchmark.core.options import parse
from benchmark.core.quiet import ignore_announcements
from transfer.probing.diagnosis_config import DiagnoseConfig

PROG = "python transfer/diagnose.py"
DESCRIPTION = "Measure effective ranks, spectrum and geometry of the features of a checkpoint on a sample of images."


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write as the command line says; 0 when done."""
    config = parse(DiagnoseConfig, argv, PROG, DESCRIPTION)
    word, output = config.word, Path(config.output) if config.output else None
    if output is not None and output.is_dir():
        raise UserError(f"--output {output} is a folder; give the name of a file.")
    ignore_announcements()
    from transfer.probing.diagnosis import diagnose  # late: --help answers without torch

    diagnose(config, word, output)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
