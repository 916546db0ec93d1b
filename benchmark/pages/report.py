"""Makes the report: reads records, builds the page once, and writes it in every format."""

import gc
import json
from pathlib import Path

from benchmark.comparison.published import PUBLISHED, read_published
from benchmark.comparison.rows import detection_tables
from benchmark.core.errors import UserError
from benchmark.core.files import write_text
from benchmark.core.folder import RESULTS
from benchmark.core.text import readable
from benchmark.pages.build import build_page
from benchmark.pages.config import ReportConfig
from benchmark.pages.latex import page_latex
from benchmark.pages.markdown import page_markdown, section_markdown
from benchmark.pages.plain import page_json
from benchmark.pages.runs import find_runs
from benchmark.pages.tidy import comparisons_csv, runs_csv, summaries_csv
from benchmark.pages.web import page_html
from benchmark.records import RECORDS, read_records


def start(config: ReportConfig) -> int:
    """Make the report that the options describe and print its tables; return 0. Raises ``UserError``."""
    folder = Path(config.records or RECORDS)
    if config.records and not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give the folder of records that the runs wrote.")
    gc.disable()  # millions of numbers that live to the end: looking for garbage among them takes a fifth of the time
    try:
        print(make_report(config, folder))
    finally:
        gc.enable()
    return 0


def make_report(config: ReportConfig, folder: Path) -> str:
    """Write all formats of the report; return what the command prints: measured tables, and the files written.

    Raises:
        UserError: a record cannot be read, or the output cannot be written.
    """
    output = Path(config.output or RESULTS)
    records = read_records(folder)
    tables = detection_tables(records, read_published(config.published or PUBLISHED))
    runs = find_runs(records, Path(config.runs) if config.runs else folder.parent / "runs")
    annotations = Path(config.annotations) if config.annotations else None
    page = build_page(tables, records, runs, annotations)
    files = {
        output / "report.html": lambda: page_html(page),
        output / "tables" / "report.md": lambda: page_markdown(page),
        output / "tables" / "report.tex": lambda: page_latex(page),
        output / "tables" / "report.json": lambda: json.dumps(page_json(page), indent=1, allow_nan=False) + "\n",
        output / "tables" / "report.csv": lambda: summaries_csv(tables),
        output / "tables" / "runs.csv": lambda: runs_csv(tables),
        output / "tables" / "comparisons.csv": lambda: comparisons_csv(tables),
    }
    try:
        for path, content in files.items():
            write_text(path, content())
    except OSError as error:
        raise UserError(
            f"the report cannot be written to {output} ({error.strerror}); give another --output."
        ) from None
    measured = [section_markdown(section) for section in page.sections if section.id != "published"]
    shown = "\n\n".join(measured) or f"No records in {folder} yet; run `make demo` or the scripts first."
    return "\n".join([readable(page.answer), "", shown, "", *(f"wrote {path}" for path in files)])
