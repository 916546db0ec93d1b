"""The table in docs/reliability.md: one row a fault, made again by ``make faults``."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmark.core.files import write_json, write_text
from benchmark.core.folder import RESULTS, ROOT

PAGE = ROOT / "docs" / "reliability.md"
KEPT = RESULTS / "faults.json"  # rows of the parts that have been run so far
BEGIN, END = "<!-- made by `make faults` -->\n", "<!-- end -->\n"


@dataclass(frozen=True)
class Row:
    """One kind of fault: what was done, how often, how often it ended as it should, and what that is."""

    fault: str
    tried: int
    right: int
    what: str


def keep(part: str, rows: list[Row]) -> dict[str, list[Row]]:
    """Keep the rows of a part beside those of the others; return all."""
    found = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    found[part] = [asdict(row) for row in rows]
    write_json(KEPT, found)
    return {name: [Row(**row) for row in rows] for name, rows in found.items()}


def write(rows: list[Row], page: Path = PAGE) -> None:
    """Put the table between its marks in the page."""
    lines = ["| fault | tried | as it should | what should happen |", "| --- | ---: | ---: | --- |"]
    lines += [f"| {row.fault} | {row.tried} | {row.right} | {row.what} |" for row in rows]
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    write_text(page, before + BEGIN + "\n".join(lines) + "\n" + END + after)
