"""``python benchmark/report.py``: records and published figures -> tables, figures and one page.

Reads ``results/records`` and ``published.csv`` and nothing else; imports no torch. Prints the tables of what was
measured; writes ``tables/report.md``, ``tables/report.csv``, ``figures/*.png`` and ``report.html``.
"""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.core.errors import UserError, run_command
from benchmark.core.options import check_choices, option, parse
from benchmark.core.value_types import PathText

if TYPE_CHECKING:
    from benchmark.comparison.rows import Table

DESCRIPTION = "Tabulate the recorded runs beside published figures."
CAVEATS = (
    "AP in percent. COCO val2017 serves both development and test, as in all published figures. 0.3 AP on COCO is "
    "within the variation between repeats (moco#39). Published figures are quoted with their source and were not "
    "measured here. The embedded set proves that the pipeline works; it says nothing about COCO."
)


@dataclass(frozen=True)
class ReportConfig:
    """Options of the report: where the records are and where tables, figures and page go."""

    records: PathText | None = option(None, "folder of records, *.json; default results/records", group="Files")
    output: PathText | None = option(None, "folder for tables, figures and page; default results", group="Files")
    published: PathText | None = option(None, "CSV of published figures; default the project's own", group="Files")

    def __post_init__(self) -> None:
        check_choices(self)


def main(argv: list[str] | None = None) -> int:
    """Build the report; return 0."""
    config = parse(ReportConfig, argv, "python benchmark/report.py", DESCRIPTION)
    # Imported late so that --help answers at once.
    from benchmark.comparison.published import PUBLISHED, read_published
    from benchmark.comparison.rows import detection_tables
    from benchmark.core.files import write_text
    from benchmark.core.folder import RESULTS
    from benchmark.pages import render
    from benchmark.records import RECORDS, read_records

    folder = Path(config.records or RECORDS)
    if config.records and not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give the folder of records that the runs wrote.")
    output = Path(config.output or RESULTS)
    records = read_records(folder)
    tables = detection_tables(records, read_published(config.published or PUBLISHED))
    sections = [render.table_markdown(table) for table in tables if table.measured]
    for kind, draw in (("pretrain", render.pretrain_markdown), ("classification", render.classification_markdown)):
        if chosen := [record for record in records if record.kind == kind]:
            sections.append(draw(chosen))
    measured = "\n".join(sections) or f"No records in {folder} yet; run `make demo` or the scripts first.\n"
    quoted = "\n".join(render.table_markdown(table) for table in tables if not table.measured)
    text = f"# How much does pre-training help?\n\n{CAVEATS}\n\n{measured}\n# Published figures only\n\n{quoted}"

    try:
        figures = draw_figures(tables, output / "figures")
        write_text(output / "tables" / "report.md", text)
        write_text(output / "tables" / "report.csv", render.tidy_csv(tables))
        images = {render.cell_text(title): path.relative_to(output) for title, path in figures.items()}
        write_text(output / "report.html", page(text, images))
    except OSError as error:
        raise UserError(
            f"the report cannot be written to {output} ({error.strerror}); give another --output."
        ) from None
    print(measured)
    written = [output / "tables" / "report.md", output / "tables" / "report.csv", *figures.values()]
    print("\n".join(f"wrote {path}" for path in [*written, output / "report.html"]))
    return 0


def draw_figures(tables: "list[Table]", folder: Path) -> dict[str, Path]:
    """Draw one figure for each table with measured values; return their paths by the table's title."""
    paths: dict[str, Path] = {}
    for table in tables:
        if any(row.values for row in table.measured):
            from benchmark.comparison.figures import draw_table

            name = re.sub(r"[^A-Za-z0-9_.=-]+", "_", table.title)[:100].strip("_.")
            path = folder / f"{name}.png"
            if path in paths.values():  # titles that differ only in what a file's name cannot hold
                path = folder / f"{name}-{len(paths)}.png"
            draw_table(table, path)
            paths[table.title] = path
    return paths


def page(markdown_text: str, figures: Mapping[str, Path]) -> str:
    """Return the report as one HTML page: our own Markdown (headings, paragraphs, tables), figures by their heading."""
    from benchmark.pages.render import plain_text

    body = []
    for block in re.split(r"\n{2,}", markdown_text.strip()):
        lines = block.splitlines()
        while lines and (heading := re.match(r"(#+) (.*)", lines[0])):
            level, title = len(heading.group(1)), heading.group(2)
            body.append(f"<h{level}>{html.escape(plain_text(title))}</h{level}>")
            if title in figures:
                source, name = html.escape(figures[title].as_posix()), html.escape(plain_text(title))
                body.append(f'<img src="{source}" alt="{name}">')
            lines = lines[1:]
        if lines and lines[0].startswith("|"):
            body.append(_html_table(lines))
        elif lines:
            body.append(f"<p>{html.escape(' '.join(lines))}</p>")
    style = (
        "body{font:15px/1.45 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222}"
        ".table{overflow-x:auto}table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}"
        "td,th{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}"
        "th{background:#f5f5f5}img{max-width:100%;margin:1rem 0}"
    )
    head = f'<meta charset="utf-8"><title>How much does pre-training help?</title><style>{style}</style>'
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(body)}</body></html>\n"


def _html_table(lines: list[str]) -> str:
    from benchmark.pages.render import plain_text

    def cells(line: str, tag: str) -> str:
        parts = re.split(r"(?<!\\)\|", line.strip()[1:-1])
        return "".join(f"<{tag}>{html.escape(plain_text(part))}</{tag}>" for part in parts)

    rows = [f"<tr>{cells(lines[0], 'th')}</tr>", *[f"<tr>{cells(line, 'td')}</tr>" for line in lines[2:]]]
    return f"<div class=table><table>{''.join(rows)}</table></div>"


if __name__ == "__main__":
    raise SystemExit(run_command(main))
