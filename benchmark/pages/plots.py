"""Figures of the page as SVG text that follows the page's theme: matplotlib draws, colours become CSS variables."""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import matplotlib

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from benchmark.core.text import readable

# What matplotlib draws in these colours takes the named colour of the page, in light and dark.
INK, LINE = "#0a0b0c", "#d0d1d2"
SERIES = tuple(f"#c0de0{i}" for i in range(8))
THEMED = {INK: "currentColor", LINE: "var(--line)"} | {colour: f"var(--c{i})" for i, colour in enumerate(SERIES)}
MIN_SPAN = 2.0  # points of AP: noise must not look like a difference
MAX_DOTS = 100  # of one row
MAX_POINTS = 400  # of one kind in one figure; the tables hold all

_STYLE = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "text.color": INK, "axes.labelcolor": INK,
    "axes.edgecolor": LINE, "xtick.color": INK, "ytick.color": INK, "grid.color": LINE, "axes.spines.top": False,
    "axes.spines.right": False, "figure.facecolor": "none", "axes.facecolor": "none", "legend.frameon": False,
    "text.parse_math": False, "axes.axisbelow": True, "lines.linewidth": 1.6,
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One mean with its interval: x (epochs), y, and the ends of the interval (None where there is none)."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """One method in a figure: measured points joined by a line, published ones as hollow diamonds."""

    name: str
    measured: tuple[Point, ...] = ()
    published: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Level:
    """A horizontal line: a control that has no epochs."""

    name: str
    y: float


@dataclass(frozen=True)
class Bar:
    """One row of a figure of rows: single runs, their mean, and published values beside them."""

    name: str
    runs: tuple[float, ...]
    published: tuple[float, ...] = ()
    control: bool = False
    interval: tuple[float, float] | None = field(default=None)


def _label(text: str) -> str:
    """Return a name fit for a figure: clean, and short enough to leave room for what it names."""
    return readable(text, limit=48)


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as SVG text for inside a page: theme colours, ids of its own, no size of its own."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's own font draws the text
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'(<svg [^>]*?) height="[^"]*"([^>]*?) width="[^"]*"', r"\1\2", text, count=1)
    text = re.sub(r'(<svg [^>]*?) width="[^"]*"([^>]*?) height="[^"]*"', r"\1\2", text, count=1)
    for colour, themed in THEMED.items():
        text = text.replace(colour, themed)
    prefix = re.sub(r"[^a-z0-9]+", "-", name.lower())
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", text)
    return text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def against_epochs(lines: Sequence[Line], levels: Sequence[Level], ylabel: str, name: str) -> str:
    """Return AP against epochs of pre-training as SVG; measured lines with intervals beside published diamonds."""
    with _figure(8.6, 4.6) as figure:
        axes = figure.subplots()
        for number, line in enumerate(lines):
            colour, marker = SERIES[number % len(SERIES)], "os^vDPX*"[number % 8]
            _draw_line(axes, line, colour, marker)
        for number, level in enumerate(levels):
            axes.axhline(level.y, color=INK, linewidth=1, linestyle=(0, (4, 2 + 2 * number)), label=_label(level.name))
        _epoch_axis(axes, sorted({p.x for line in lines for p in (*line.measured, *line.published)}))
        _value_axis(axes, ylabel)
        if lines or levels:
            figure.legend(loc="outside lower center", ncols=3, fontsize=9)
        return _svg(figure, name)


def _draw_line(axes: Axes, line: Line, colour: str, marker: str) -> None:
    if line.measured:
        x, y = [p.x for p in line.measured], [p.y for p in line.measured]
        axes.plot(x, y, color=colour, marker=marker, markersize=7, label=_label(line.name))
        for p in line.measured:
            if p.low is not None and p.high is not None:
                axes.plot([p.x, p.x], [max(p.low, 0.0), min(p.high, 100.0)], color=colour, linewidth=1.2)
    published = line.published[:MAX_POINTS]
    if published:
        label = None if line.measured else f"{_label(line.name)} (published)"
        axes.plot(
            [p.x for p in published], [p.y for p in published], "D", color=colour, markerfacecolor="none", markersize=6,
            markeredgewidth=1.3, label=label,
        )  # fmt: skip


def _epoch_axis(axes: Axes, epochs: Sequence[float]) -> None:
    """Label the epochs that occur, on a logarithmic axis, and leave out labels that would collide."""
    axes.set_xlabel("epochs of pre-training")
    positive = [e for e in epochs if e > 0]
    if not positive:
        axes.set_xticks([])
        return
    axes.set_xscale("log")
    low, high = min(positive), max(positive)
    axes.set_xlim(low / 1.35, high * 1.35)
    span = (high / low) if high > low else 2.0
    gap = span ** (1 / 12)  # a label needs about a twelfth of the width
    kept: list[float] = []
    for epoch in sorted(positive, reverse=True):  # the long ones are what people look for
        if not kept or kept[-1] / epoch >= gap:
            kept.append(epoch)
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{epoch:g}" for epoch in kept])


def _value_axis(axes: Axes, label: str) -> None:
    """Widen the axis to `MIN_SPAN` and keep it between 0 and 100: no percentage lies outside."""
    low, high = axes.get_ylim()
    if high - low < MIN_SPAN:
        middle = (low + high) / 2
        low, high = middle - MIN_SPAN / 2, middle + MIN_SPAN / 2
    axes.set_ylim(max(low, 0.0), min(max(high, MIN_SPAN), 100.0))
    axes.set_ylabel(label)
    axes.grid(axis="y", linewidth=0.8)


def rows_of_runs(panels: Sequence[tuple[str, Sequence[Bar]]], name: str) -> str:
    """Return one figure with a panel a metric: every run a dot, the mean a bar, published values as diamonds."""
    bars = max((len(found) for _, found in panels), default=0)
    with _figure(8.6, 1.3 + 0.46 * max(bars, 1)) as figure:
        grid = figure.subplots(1, max(len(panels), 1), sharey=True, squeeze=False)[0]
        for axes, (label, found) in zip(grid, panels, strict=False):
            for y, bar in enumerate(found):
                _draw_bar(axes, y, bar)
            axes.set_xlabel(label)
            axes.grid(axis="x", linewidth=0.8)
            axes.margins(x=0.1)
            low, high = axes.get_xlim()
            if high - low < MIN_SPAN:
                low, high = (low + high - MIN_SPAN) / 2, (low + high + MIN_SPAN) / 2
            axes.set_xlim(max(low, -0.02 * MIN_SPAN), min(max(high, MIN_SPAN), 100.0))
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
        names = [_label(bar.name) for bar in panels[0][1]] if panels else []
        grid[0].set_yticks(range(len(names)), names)
        grid[0].set_ylim(len(names) - 0.5, -0.5)
        return _svg(figure, name)


def _draw_bar(axes: Axes, y: int, bar: Bar) -> None:
    colour = SERIES[7] if bar.control else SERIES[0]
    if bar.runs:
        mean = sum(bar.runs) / len(bar.runs)
        dots = sorted(bar.runs)[:: max(1, len(bar.runs) // MAX_DOTS)]
        axes.plot(dots, [y] * len(dots), "o", color=colour, markersize=6, alpha=0.55, markeredgewidth=0)
        axes.plot([mean, mean], [y - 0.26, y + 0.26], color=colour, linewidth=2.4)
    if bar.interval is not None:
        axes.plot([max(bar.interval[0], 0.0), min(bar.interval[1], 100.0)], [y, y], color=colour, linewidth=1.2)
    if bar.published:
        axes.plot(
            bar.published, [y] * len(bar.published), "D", color=SERIES[1], markerfacecolor="none", markersize=6
        )  # fmt: skip


def curves(series: Sequence[tuple[str, Sequence[float], Sequence[float]]], ylabel: str, name: str) -> str:
    """Return lines over training (x: epochs) as SVG, one a run."""
    with _figure(8.6, 3.6) as figure:
        axes = figure.subplots()
        for number, (label, x, y) in enumerate(series):
            axes.plot(x, y, color=SERIES[number % len(SERIES)], linewidth=1.3, label=_label(label))
        axes.set_xlabel("epoch")
        axes.set_ylabel(ylabel)
        axes.grid(axis="y", linewidth=0.8)
        if series:
            figure.legend(loc="outside lower center", ncols=3, fontsize=9)
        return _svg(figure, name)


def scatter(groups: Sequence[tuple[str, Sequence[tuple[float, float]]]], xlabel: str, ylabel: str, name: str) -> str:
    """Return points by method as SVG: effective rank against AP, say."""
    with _figure(8.6, 4.0) as figure:
        axes = figure.subplots()
        for number, (label, points) in enumerate(groups):
            x, y = zip(*points, strict=True) if points else ((), ())
            marker = "os^vDPX*"[number % 8]
            axes.plot(x, y, marker, color=SERIES[number % len(SERIES)], markersize=7, label=_label(label))
        axes.set_xlabel(xlabel)
        _value_axis(axes, ylabel)
        if groups:
            figure.legend(loc="outside lower center", ncols=3, fontsize=9)
        return _svg(figure, name)


def stacked(rows: Sequence[tuple[str, dict[str, float]]], xlabel: str, name: str) -> str:
    """Return horizontal stacked bars as SVG: what each kind of error costs each row."""
    kinds = list(dict.fromkeys(kind for _, parts in rows for kind in parts))
    with _figure(8.6, 1.4 + 0.44 * max(len(rows), 1)) as figure:
        axes = figure.subplots()
        for y, (_, parts) in enumerate(rows):
            left = 0.0
            for number, kind in enumerate(kinds):
                width = parts.get(kind, 0.0)
                label = kind if y == 0 else None
                axes.barh(y, width, left=left, height=0.6, color=SERIES[number % len(SERIES)], label=label)
                left += width
        axes.set_yticks(range(len(rows)), [_label(label) for label, _ in rows])
        axes.invert_yaxis()
        axes.set_xlabel(xlabel)
        axes.tick_params(axis="y", length=0)
        if rows:
            figure.legend(loc="outside lower center", ncols=3, fontsize=9)
        return _svg(figure, name)
