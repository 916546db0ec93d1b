"""The page as plain JSON values for machines: what it says and its tables, without drawings."""

import dataclasses
from typing import Any

from benchmark.core.text import readable
from benchmark.pages.view import Grid, Page


def page_json(page: Page) -> dict[str, Any]:
    """Return the page as JSON-able values. Figures are left out: their numbers are in the tables."""
    return {
        "title": page.title,
        "question": page.question,
        "answer": page.answer,
        "more": list(page.answer_more),
        "facts": {fact.name: readable(fact.value) for fact in page.facts},
        "sections": [
            {
                "id": section.id,
                "title": readable(section.title),
                "paragraphs": [readable(text) for text in section.paragraphs],
                "tables": [_grid(grid) for grid in section.tables],
            }
            for section in page.sections
        ],
        "records": page.records,
    }


def _grid(grid: Grid) -> dict[str, Any]:
    rows = []
    for row in grid.rows:
        cells = [
            {k: _clean(v) for k, v in dataclasses.asdict(cell).items() if v not in (None, ())} for cell in row.cells
        ]
        rows.append({"origin": row.origin, "method": readable(row.method), "epochs": row.epochs, "cells": cells})
    columns = [dataclasses.asdict(column) for column in grid.columns]
    return {"id": grid.id, "caption": readable(grid.caption), "columns": columns, "rows": rows, "note": grid.note}


def _clean(value: Any) -> Any:
    return readable(value) if isinstance(value, str) else value
