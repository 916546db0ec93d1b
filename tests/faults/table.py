"""The table in docs/reliability.md: one row a fault, made again by ``make faults`` or by one part of it.

The page is the only place where rows are kept: what is run again takes the place of its row, the other rows stay. A
fault whose name has changed leaves its old row behind, to be removed by hand.
"""

from dataclasses import dataclass
from pathlib import Path

from benchmark.core.files import write_text
from benchmark.core.folder import ROOT

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- made by `make faults` -->\n", "<!-- end -->\n"
HEAD = ["| fault | tried | as it should | what should happen |", "| --- | ---: | ---: | --- |"]


@dataclass(frozen=True)
class Row:
    """One kind of fault: what was done, how often, how often it ended as it should, and what that is."""

    fault: str
    tried: int
    right: int
    what: str

    @classmethod
    def of(cls, line: str) -> "Row":
        """Return the row that a line of the table holds."""
        fault, tried, right, what = (cell.strip() for cell in line.strip().strip("|").split(" | "))
        return cls(fault, int(tried), int(right), what)

    def __str__(self) -> str:
        return f"| {self.fault} | {self.tried} | {self.right} | {self.what} |"


def read(page: Path = PAGE) -> list[Row]:
    """Return the rows of the page."""
    lines = page.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].splitlines()
    return [Row.of(line) for line in lines[len(HEAD) :]]


def put(rows: list[Row], page: Path = PAGE) -> None:
    """Put rows into the page, each in the place of the row of its fault, new ones at the end."""
    kept = {row.fault: row for row in read(page)} | {row.fault: row for row in rows}
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    write_text(page, before + BEGIN + "\n".join([*HEAD, *map(str, kept.values())]) + "\n" + END + after)
