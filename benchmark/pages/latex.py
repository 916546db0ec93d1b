"""Tables for a paper: LaTeX with booktabs, one table a file's section, everything of others escaped."""

from benchmark.core.text import readable
from benchmark.pages.view import Cell, Column, Grid, Page, Row

HEAD = "% Needs \\usepackage{booktabs}. Written by benchmark/report.py.\n"
_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": r"$-$", "±": r"$\pm$", "–": "--", "…": r"\dots{}",
    "<": r"\textless{}", ">": r"\textgreater{}", '"': "''",
}  # fmt: skip


def page_latex(page: Page) -> str:
    """Return every table of measured values as LaTeX."""
    found = [(section.title, grid) for section in page.sections for grid in section.tables if not grid.folded]
    return HEAD + "\n".join(grid_latex(grid, title) for title, grid in found)


def grid_latex(grid: Grid, title: str) -> str:
    """Return one table, captioned by `title` and its own caption; columns that are empty throughout are left out."""
    kept = [i for i, _ in enumerate(grid.columns) if any(row.cells[i].text for row in grid.rows)]
    columns: list[Column] = [grid.columns[i] for i in kept]
    lines = [
        "\\begin{table}[t]",
        "\\centering",
        f"\\caption{{{escaped(title)}: {escaped(grid.caption)}.}}",
        f"\\begin{{tabular}}{{{''.join('r' if column.numeric else 'l' for column in columns)}}}",
        "\\toprule",
        " & ".join(escaped(column.label) for column in columns) + r" \\",
        "\\midrule",
    ]
    lines += [_line(row, kept) for row in grid.rows]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""])


def _line(row: Row, kept: list[int]) -> str:
    words = [_text(row.cells[i]) for i in kept]
    if row.origin == "published":
        words = [f"\\textit{{{word}}}" if word else "" for word in words]
    source = next((cell.title for cell in row.cells if cell.text.startswith("published") and cell.title), "")
    return (f"% {escaped(source)}\n" if source else "") + " & ".join(words) + r" \\"


def _text(cell: Cell) -> str:
    text = escaped(cell.text)
    return f"{text} {{\\scriptsize ({escaped(cell.note)})}}" if cell.note else text


def escaped(text: str) -> str:
    """Return a text in which nothing is a command of LaTeX."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(readable(text).split()))
