"""``python benchmark/report.py``: records and published figures -> one page and the same tables in every format.

Reads ``results/records`` and the published figures and nothing else; imports no torch. Writes ``report.html`` (one
file, no network), and under ``tables/`` ``report.md``, ``report.tex``, ``report.json``, ``report.csv`` (summaries
and published figures), ``runs.csv`` and ``comparisons.csv``. Prints the tables of what was measured.
"""

from benchmark.core.errors import run_command
from benchmark.core.options import parse
from benchmark.pages.config import ReportConfig

PROG = "python benchmark/report.py"
DESCRIPTION = "Tabulate the recorded runs beside published figures, as a page, Markdown, LaTeX, CSV and JSON."


def main(argv: list[str] | None = None) -> int:
    """Build the report; return 0. Raises ``UserError`` when records are missing or nothing can be written."""
    config = parse(ReportConfig, argv, PROG, DESCRIPTION)
    from benchmark.pages.report import start  # late: --help answers at once

    return start(config)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
