"""Figures of the report: every run a dot, the mean a line, published figures as hollow diamonds."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmark.files import write_with
from benchmark.tables import TASK_NAMES, Table

MEASURED, CONTROL_COLOUR, PUBLISHED = "#1f5fa8", "#8a8a8a", "#c2571a"


def draw_table(table: Table, path: Path) -> None:
    """Draw box and mask AP of a table's measured rows (and published figures beside them) as a PNG at `path`."""
    tasks = [task for task in TASK_NAMES if any((task, "AP") in row.values for row in table.measured)]
    rows = table.measured
    height = 1.6 + 0.45 * len(rows)
    figure, axes = plt.subplots(1, max(len(tasks), 1), figsize=(9, height), sharey=True, squeeze=False)
    for axis, task in zip(axes[0], tasks, strict=False):
        for y, row in enumerate(rows):
            values = list(row.values.get((task, "AP"), {}).values())
            colour = CONTROL_COLOUR if row is table.control() else MEASURED
            if values:
                mean = sum(values) / len(values)
                axis.plot(values, [y] * len(values), "o", color=colour, alpha=0.6, markersize=7, markeredgewidth=0)
                axis.plot([mean, mean], [y - 0.25, y + 0.25], color=colour, linewidth=2.5)
        axis.set_xlabel(f"{TASK_NAMES[task]} AP (%)")
        axis.grid(axis="x", color="#dddddd", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.margins(x=0.12)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    labels = [f"{row.setting.label}\n{row.setting.epochs_label} epochs" for row in rows]
    axes[0][0].set_yticks(range(len(rows)), labels)
    axes[0][0].set_ylim(len(rows) - 0.5, -0.5)
    figure.suptitle(f"{table.title}: each dot one run, bar = mean", fontsize=10)
    figure.tight_layout()
    write_with(path, lambda file: figure.savefig(file, format="png", dpi=130))
    plt.close(figure)
