"""What the figures draw: means, runs and intervals where they belong; every drawing against its stored description.

The descriptions guard against change: they were written by this code, not checked by eye. ``python -m
tests.benchmark.pages.test_plots`` writes them anew.
"""

import json
import re
import sys
from pathlib import Path
from unittest import mock

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from benchmark.pages.plots import Bar, Level, Line, Point, against_epochs, curves, rows_of_runs, scatter, stacked

GOLDEN = Path(__file__).parent / "golden" / "figures.json"


def drawn(draw, *arguments):
    """Return the SVG of a figure, and matplotlib's figure as it was when it was written."""
    figures, write = [], Figure.savefig

    def noted(figure, *more, **options):
        figures.append(figure)
        return write(figure, *more, **options)

    with mock.patch.object(Figure, "savefig", noted):
        svg = draw(*arguments)
    return svg, figures[0]


def described(draw, *arguments):
    """Describe a figure by its own numbers, none of which depends on matplotlib's version or the machine's fonts."""
    svg, figure = drawn(draw, *arguments)
    found = {"size": figure.get_size_inches().tolist(), "axes": [_axes(axes) for axes in figure.axes]}
    found["svg"] = {
        "dashes": re.findall(r"stroke-dasharray: ([\d., ]+)", svg),
        "tags": len(re.findall("<svg ", svg)),
        "start": re.sub(r'(viewBox|xmlns|version)[^=]*="[^"]*"', "", svg[: svg.index(">")]).split(),
        "colours": sorted(set(re.findall(r"(?:fill|stroke): (var\(--\w+\)|currentColor)", svg))),
    }
    for legend in figure.legends:
        texts = [(text.get_text(), text.get_fontsize()) for text in legend.get_texts()]
        columns = len({round(text.get_window_extent().x0) for text in legend.get_texts()})
        found["legend"] = {"texts": texts, "columns": columns, "frame": legend.get_frame_on()}
    return json.loads(json.dumps(found), parse_float=lambda number: round(float(number), 5))


def _axes(axes):
    lines = [
        {
            "x": list(map(float, line.get_xdata())), "y": list(map(float, line.get_ydata())),
            "look": [str(line.get_color()), line.get_linewidth(), line.get_marker(), line.get_markersize(),
                     str(line.get_markerfacecolor()), line.get_markeredgewidth(), line.get_alpha()],
            "label": str(line.get_label()).startswith("_") or line.get_label(),
        }
        for line in axes.lines
    ]  # fmt: skip
    bars = [
        [bar.get_x(), bar.get_y(), bar.get_width(), bar.get_height(), to_hex(bar.get_facecolor())]
        for bar in axes.patches
    ]
    return {
        "lines": lines, "bars": bars, "x": axes.get_xlim(), "y": axes.get_ylim(), "scale": axes.get_xscale(),
        "labels": [axes.get_xlabel(), axes.get_ylabel()], "below": axes.get_axisbelow(),
        "named": [[text.get_text() for text in axes.get_yticklabels()], len(axes.yaxis.get_ticklines())]
        if axes.yaxis.get_major_locator().__class__.__name__ == "FixedLocator" else None,
        "ticks": [float(tick) for tick in axes.get_xticks()] if axes.get_xscale() == "log" else None,
        "tick length": [axis.get_tick_params().get("length") for axis in (axes.xaxis, axes.yaxis)],
        "grid": [axis.get_tick_params().get("grid_linewidth") for axis in (axes.xaxis, axes.yaxis)],
        "spines": [name for name, spine in axes.spines.items() if spine.get_visible()],
        "size of text": axes.xaxis.label.get_fontsize(),
    }  # fmt: skip


LONG = "a method whose name is much longer than any figure has room for"
LINES = [
    Line("ours", (Point(100, 38, 37.5, 38.5), Point(400, 39, 38, 40), Point(800, 39.5)), (Point(200, 38.2),)),
    Line("theirs", (), (Point(200, 37), Point(210, 36.5))),
    Line(LONG, (Point(1000, 99.5, 98, 103), Point(50, 0.5, -1, None))),
    *(Line(f"m{number}", (Point(100, 20 + number),)) for number in range(6)),
]
BARS = [
    Bar("control", (25.9, 26.2, 26.1), control=True),
    Bar("ours", (38.0, 38.6), (38.5, 38.9), interval=(37.5, 39.2)),
    Bar("none", ()),
    Bar("wide", (50.0,), interval=(-5.0, 108.0)),
]
FIGURES = {
    "epochs": (against_epochs, LINES, [Level("random", 26.0), Level("supervised", 38.0)], "box AP", "one"),
    "epochs, all alike": (against_epochs, [Line("one", (Point(200, 38.0), Point(400, 38.1)))], [], "box AP", "two"),
    "epochs, none": (against_epochs, [], [], "box AP", "three"),
    "epochs, none above 0": (against_epochs, [Line("x", (Point(0, 5.0),))], [], "box AP", "three b"),
    "rows": (rows_of_runs, [("box AP", BARS), ("mask AP", BARS[:2])], "four"),
    "rows, alike": (rows_of_runs, [("box AP", [Bar("x", (38.0, 38.1))])], "five"),
    "rows, near 0": (rows_of_runs, [("box AP", [Bar("x", (0.1, 0.2))])], "six"),
    "rows, none": (rows_of_runs, [], "seven"),
    "rows, many runs": (rows_of_runs, [("box AP", [Bar("x", tuple(n / 10 for n in range(250)))])], "eight"),
    "curves": (curves, [(f"c{n}", [0, 1, 2], [n, 1.0, 0.5]) for n in range(9)], "loss", "nine"),
    "curves, none": (curves, [], "loss", "ten"),
    "scatter": (scatter, [(f"s{n}", [(n, 30 + n), (n + 1, 31)]) for n in range(9)] + [("no", [])], "rank", "AP", "c"),
    "stacked": (
        stacked, [("a", {f"k{n}": n + 1.0 for n in range(9)}), ("b", {"k0": 1.0, "k2": 2.5})], "AP lost", "d",
    ),
    "stacked, none": (stacked, [], "AP lost", "e"),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_the_figure_is_the_golden_one(name):
    assert described(*FIGURES[name]) == json.loads(GOLDEN.read_text(encoding="utf-8"))[name]


def test_runs_means_and_intervals_are_where_the_values_are():
    _, figure = drawn(*FIGURES["rows"])
    lines = figure.axes[0].lines
    assert list(lines[0].get_xdata()) == [25.9, 26.1, 26.2]
    assert list(lines[1].get_xdata()) == pytest.approx([26.0667] * 2, abs=1e-4)  # the mean
    assert any(list(line.get_xdata()) == [0.0, 100.0] for line in lines)  # no AP lies outside
    assert figure.axes[0].get_ylim() == (3.5, -0.5)  # four rows, the first on top


@pytest.mark.parametrize("name", ["epochs, all alike", "rows, alike", "rows, near 0"])
def test_noise_is_not_drawn_as_a_difference(name):
    """An axis of AP is at least two points wide and shows nothing below 0."""
    (axes,) = drawn(*FIGURES[name])[1].axes
    low, high = axes.get_ylim() if name.startswith("epochs") else axes.get_xlim()
    assert high - low == pytest.approx(2.0, abs=0.05)
    assert low > -0.05
    values = axes.lines[0].get_ydata() if name.startswith("epochs") else axes.lines[0].get_xdata()
    assert low < min(values) <= max(values) < high


def test_labels_of_near_epochs_do_not_collide():
    """A label takes a twelfth of a logarithmic axis; the longest training keeps its own."""
    epochs = [100, 105, 200, 210, 400, 780, 800]
    _, figure = drawn(against_epochs, [Line("x", tuple(Point(e, 38) for e in epochs))], [], "AP", "x")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()][::-1] == ["105", "210", "400", "800"]
    low, high = axes.get_xlim()
    assert low < 100 < 800 < high


def test_stacked_bars_follow_each_other():
    _, figure = drawn(*FIGURES["stacked"])
    first = [bar for bar in figure.axes[0].patches if bar.get_y() < 0]
    assert [bar.get_x() for bar in first] == [0, 1, 3, 6, 10, 15, 21, 28, 36]
    assert [bar.get_width() for bar in first] == [1, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(("runs", "dots"), [(150, 150), (200, 100), (1000, 100)])
def test_a_row_of_many_runs_draws_a_hundred_dots_and_the_mean_of_all(runs, dots):
    values = tuple(10 + 0.01 * n for n in range(runs))
    _, figure = drawn(rows_of_runs, [("box AP", [Bar("many", runs=values)])], "many")
    first, mean = figure.axes[0].lines[:2]
    assert len(first.get_xdata()) == dots
    assert mean.get_xdata()[0] == pytest.approx(10 + 0.01 * (runs - 1) / 2)


if __name__ == "__main__":
    found = {name: described(*arguments) for name, arguments in FIGURES.items()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(figure, sort_keys=True)}" for name, figure in found.items())
    GOLDEN.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    sys.exit(0)
