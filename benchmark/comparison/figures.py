"""Figures of the report: every run a dot, the mean a bar, published figures as hollow diamonds."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmark.comparison.rows import CONTROL, TASK_NAMES, MeasuredRow, Table
from benchmark.core.files import write_with

MEASURED, CONTROL_COLOUR, PUBLISHED = "#1f5fa8", "#8a8a8a", "#c2571a"
MIN_SPAN = 2.0  # AP
MAX_ROWS = 60  # of one figure: the tables hold the others; a PNG has at most 65,536 px
matplotlib.rcParams["text.parse_math"] = False  # a dollar sign in a method's name is a dollar sign


def draw_table(table: Table, path: Path) -> None:
    """Draw box and mask AP of a table's measured rows (and published figures beside them) as a PNG at `path`."""
    rows = [row for row in table.measured if row.values][:MAX_ROWS]
    tasks = [task for task in TASK_NAMES if any((task, "AP") in row.values for row in rows)]
    figure, axes = plt.subplots(
        1, max(len(tasks), 1), figsize=(9, 1.6 + 0.45 * len(rows)), sharey=True, squeeze=False, layout="constrained"
    )
    quoted = False
    for axis, task in zip(axes[0], tasks, strict=False):
        for y, row in enumerate(rows):
            _draw_row(axis, y, row, task)
            published = table.published_beside(row, task)
            axis.plot(published, [y] * len(published), "D", markerfacecolor="none", color=PUBLISHED, markersize=6)
            quoted = quoted or bool(published)
        axis.set_xlabel(f"{TASK_NAMES[task]} AP (%)")
        axis.grid(axis="x", color="#dddddd", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.margins(x=0.12)
        _widen(axis)
        axis.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    axes[0][0].set_yticks(range(len(rows)), [f"{row.label}\n{row.setting.epochs_text}" for row in rows])
    axes[0][0].set_ylim(len(rows) - 0.5, -0.5)
    more = len([row for row in table.measured if row.values]) - len(rows)
    key = "dot: one run; bar: mean" + ("; diamond: published elsewhere" if quoted else "")
    key += f"; {more} more rows in the table" if more else ""
    figure.suptitle(f"{table.title}\n{key}", fontsize=10, wrap=True)
    write_with(path, lambda file: figure.savefig(file, format="png", dpi=130))
    plt.close(figure)


def _widen(axis: Axes) -> None:
    """Show at least `MIN_SPAN` points of AP, so that noise does not look like a difference."""
    low, high = axis.get_xlim()
    if high - low < MIN_SPAN:
        middle = (low + high) / 2
        axis.set_xlim(middle - MIN_SPAN / 2, middle + MIN_SPAN / 2)


def _draw_row(axis: Axes, y: int, row: MeasuredRow, task: str) -> None:
    values = row.numbers(task, "AP")
    colour = CONTROL_COLOUR if row.setting.method == CONTROL else MEASURED
    if values:
        mean = sum(values) / len(values)
        axis.plot(values, [y] * len(values), "o", color=colour, alpha=0.6, markersize=7, markeredgewidth=0)
        axis.plot([mean, mean], [y - 0.25, y + 0.25], color=colour, linewidth=2.5)
