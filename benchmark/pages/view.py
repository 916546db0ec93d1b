"""What a page shows, as plain values: filled from rows, drawn by the template, written to JSON."""

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One cell: its text, the number it sorts by (None: missing), the records or the address behind it."""

    text: str
    sort: float | str | None = None
    records: tuple[str, ...] = ()
    href: str | None = None
    title: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Column:
    """One column: its heading, and whether it holds numbers (then it is right-aligned and sorts from the top)."""

    label: str
    numeric: bool = False


@dataclass(frozen=True)
class Row:
    """One row with what filters ask for: method, epochs and origin (measured, imported, published)."""

    cells: tuple[Cell, ...]
    method: str = ""
    epochs: str | None = None
    origin: str = "measured"


@dataclass(frozen=True)
class Grid:
    """One table of the page; `folded` ones open on demand."""

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    folded: bool = False

    @property
    def filters(self) -> dict[str, list[str]] | None:
        """The choices of the filters, None where a table is too short to need them."""
        if len(self.rows) < 8:
            return None
        epochs = {row.epochs for row in self.rows if row.epochs}
        return {
            "methods": sorted({row.method for row in self.rows if row.method}),
            "epochs": sorted(epochs, key=_epochs_order),
            "origins": sorted({row.origin for row in self.rows}),
        }


def _epochs_order(text: str) -> tuple[float, str]:
    try:
        value = float(text.split()[0])
    except (ValueError, IndexError):
        value = math.inf
    return (value, text)


@dataclass(frozen=True)
class Plot:
    """One figure: SVG text, a caption, and an alternative text that says what the figure shows."""

    svg: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Photo:
    """One raster image as a data address."""

    data: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Section:
    """One section; `short` is its name in the navigation."""

    id: str
    title: str
    short: str
    paragraphs: tuple[str, ...] = ()
    figures: tuple[Plot, ...] = ()
    images: tuple[Photo, ...] = ()
    tables: tuple[Grid, ...] = ()


@dataclass(frozen=True)
class Fact:
    """One line of what was run."""

    name: str
    value: str


@dataclass(frozen=True)
class Page:
    """The whole page. `records` are the details that open behind a figure, by the record's id."""

    title: str
    question: str
    answer: str
    answer_more: tuple[str, ...]
    hero: Plot | None
    facts: tuple[Fact, ...]
    sections: tuple[Section, ...]
    footer: str
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
