"""What a study leaves behind: a CSV file, a Markdown table and a figure, each written whole or not at all."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core.errors import UserError
from benchmark.core.files import write_text, write_with
from benchmark.core.folder import check_writable
from benchmark.pages import markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito: told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def check_output(folder: Path) -> None:
    """Create the folder. Raises ``UserError`` when it cannot be written, before anything is computed."""
    check_writable(folder, "--output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); choose another --output.") from None


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with equal keys; numbers in full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows with equal keys as a Markdown table; floats with four digits."""
    return markdown.markdown_table(list(rows[0]), [[_short(value) for value in row.values()] for row in rows]) + "\n"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a figure as PNG, 150 dots per inch."""
    write_with(path, lambda file: figure.savefig(file, format="png", dpi=150, bbox_inches="tight"))
