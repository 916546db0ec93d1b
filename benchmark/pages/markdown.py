"""The page as Markdown: the same sections and tables, without figures. One writer for everything that is Markdown."""

from collections.abc import Iterable

from benchmark.core.text import readable
from benchmark.pages.view import Cell, Grid, Page, Section


def page_markdown(page: Page) -> str:
    """Return the whole page as Markdown."""
    parts = [f"# {cell_text(page.title)}", f"*{cell_text(page.question)}*", f"**{cell_text(page.answer)}**"]
    parts += [cell_text(sentence) for sentence in page.answer_more]
    if page.facts:
        parts.append("\n".join(f"- {cell_text(fact.name)}: {cell_text(fact.value)}" for fact in page.facts))
    parts += [section_markdown(section) for section in page.sections if not _only_pictures(section)]
    parts.append(cell_text(page.footer))
    return "\n\n".join(parts) + "\n"


def _only_pictures(section: Section) -> bool:
    return not section.tables and bool(section.images or (section.figures and not section.paragraphs))


def section_markdown(section: Section) -> str:
    """Return one section: heading, paragraphs, tables with their captions and notes."""
    parts = [f"## {cell_text(section.title)}", *map(cell_text, section.paragraphs)]
    parts += [grid_markdown(grid) for grid in section.tables]
    return "\n\n".join(parts)


def grid_markdown(grid: Grid) -> str:
    """Return one table with its caption above and its note below."""
    alignment = [column.numeric for column in grid.columns]
    table = markdown_table(
        [c.label for c in grid.columns], ([_text(c) for c in row.cells] for row in grid.rows), alignment
    )
    parts = [f"### {cell_text(grid.caption)}", table]
    parts += [cell_text(grid.note)] if grid.note else []
    return "\n\n".join(parts)


def _text(cell: Cell) -> str:
    if cell.text.startswith("published") and cell.title:
        return f"{cell.text}: {cell.title}"
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def markdown_table(header: list[str], rows: Iterable[list[str]], numeric: list[bool] | None = None) -> str:
    """Return a Markdown table; whatever would break it or become a link, an image or HTML is escaped.

    Args:
        numeric: the columns that are right-aligned; None aligns none.
    """
    rules = ["---:" if right else "---" for right in (numeric or [False] * len(header))]
    lines = ["| " + " | ".join(map(cell_text, header)) + " |", "| " + " | ".join(rules) + " |"]
    lines += ["| " + " | ".join(map(cell_text, row)) + " |" for row in rows]
    return "\n".join(lines)


_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\|<>[]`*#!"} | {"_": "\\_"})


def cell_text(value: object) -> str:
    """Return a value as one line of Markdown text in which nothing is markup."""
    return " ".join(readable(str(value)).split()).translate(_SPECIAL)
