"""``python benchmark/report.py``: records and published figures -> one page and the same tables in every format.

Reads ``results/records`` and the published figures and nothing else; imports no torch. Writes ``report.html`` (one
file, no network), and under ``tables/`` ``report.md``, ``report.tex``, ``report.json``, ``report.csv`` (summaries
and published figures), ``runs.csv`` and ``comparisons.csv``. Prints the tables of what was measured.
"""

import gc
from dataclasses import dataclass
from pathlib import Path

from benchmark.core.errors import UserError, run_command
from benchmark.core.options import check_values, option, parse
from benchmark.core.value_types import PathText

PROG = "python benchmark/report.py"
DESCRIPTION = "Tabulate the recorded runs beside published figures, as a page, Markdown, LaTeX, CSV and JSON."


@dataclass(frozen=True)
class ReportConfig:
    """Options of the report: where the records are and where page and tables go."""

    records: PathText | None = option(None, "folder of records, *.json; default results/records", group="Files")
    output: PathText | None = option(None, "folder for report.html and tables/; default results", group="Files")
    published: PathText | None = option(None, "CSV of published figures; default the project's own", group="Files")
    runs: PathText | None = option(
        None, "folder of run folders, for curves, pictures and kinds of errors; default: runs/ beside the records",
        group="Files",
    )  # fmt: skip
    annotations: PathText | None = option(
        None, "COCO annotations, with which saved detections tell which errors cost AP", group="Files"
    )

    def __post_init__(self) -> None:
        check_values(self)


def main(argv: list[str] | None = None) -> int:
    """Build the report; return 0. Raises ``UserError`` when records are missing or nothing can be written."""
    config = parse(ReportConfig, argv, PROG, DESCRIPTION)
    # Imported late so that --help answers at once.
    from benchmark.pages.report import make_report
    from benchmark.records import RECORDS

    folder = Path(config.records or RECORDS)
    if config.records and not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give the folder of records that the runs wrote.")
    gc.disable()  # millions of numbers that live to the end: looking for garbage among them takes a fifth of the time
    try:
        print(make_report(config, folder))
    finally:
        gc.enable()
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
