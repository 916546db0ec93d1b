"""What the objective prefers, by rank: the closed form of a flat spectrum, gradient descent, tables and the figure."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.core.files import write_text
from benchmark.core.progress import progress
from pretrain.loss_options import LossOptions
from pretrain.studies.config import RankConfig
from pretrain.studies.descent import STARTS, WAYS, descend, start_features
from pretrain.studies.flat import flat_loss
from pretrain.studies.output import COLOURS, check_output, markdown_table, write_csv, write_figure

TABLE_RANKS = (1, 2, 3, 5, 16, 256)
STYLES = {"spread": "-", "narrow": "--"}


def study(config: RankConfig) -> int:
    """Compute, write tables and figure, print the summary; return 0. Raises ``UserError``."""
    output = Path(config.output)
    check_output(output)
    curves = closed_form(config)
    paths = descents(config) if config.steps else []
    write_csv(output / "closed_form.csv", curves)
    summary = markdown_table(preferences(config))
    if paths:
        write_csv(output / "descent.csv", paths)
        summary += "\n" + markdown_table(ends(paths))
    write_text(output / "rank.md", summary)
    write_figure(output / "rank.png", draw(config, curves, paths))
    print(summary)
    print(f"done: {output}")
    return 0


def name_of(options: LossOptions) -> str:
    """Return ``K = 4`` or ``exact``."""
    return "exact" if options.logarithm == "exact" else f"K = {options.taylor_order}"


def order_of(options: LossOptions) -> int | None:
    """Return the order of the Taylor logarithm, None for the exact one."""
    return None if options.logarithm == "exact" else options.taylor_order


def relative_loss(rank: int, width: int, o: LossOptions) -> float:
    """Return the loss of a flat spectrum of `rank` less that of full rank, `width`."""
    shared = (width, o.mu, o.lam, o.gamma, order_of(o))
    return flat_loss(rank, *shared) - flat_loss(width, *shared)


def closed_form(config: RankConfig) -> list[dict[str, Any]]:
    """Return the loss against rank, relative to full rank, for every case."""
    ranks = sorted({min(round(2 ** (i / 8)), config.width) for i in range(8 * 40)})
    return [
        {"gamma": o.gamma, "logarithm": name_of(o), "rank": r, "loss": relative_loss(r, config.width, o)}
        for o in config.cases()
        for r in ranks
    ]


def preferences(config: RankConfig) -> list[dict[str, Any]]:
    """Return the table of docs/loss.md: the loss at a few ranks relative to full rank, and where it is least."""
    rows = []
    for o in config.cases():
        least = min(range(1, config.width + 1), key=lambda r: relative_loss(r, config.width, o))
        at = {f"r = {r}": relative_loss(r, config.width, o) for r in TABLE_RANKS if r < config.width}
        minimum = "full rank" if least == config.width else f"r = {least}"
        rows.append({"gamma": o.gamma, "logarithm": name_of(o), **at, "minimum at": minimum})
    return rows


def descents(config: RankConfig) -> list[dict[str, Any]]:
    """Return loss and effective rank along every descent: every case, way and start."""
    combinations = [(o, way, start) for o in config.cases() for way in WAYS for start in STARTS]
    rows = []
    with progress(None, "gradient descent", "step", total=len(combinations) * config.steps) as bar:
        for o, way, start in combinations:
            features = start_features(start, config.samples, config.free_width, config.seed)
            path = descend(features, o, way, config.steps, config.lr, bar.update)
            shared = {"gamma": o.gamma, "logarithm": name_of(o), "gradient": way, "start": start}
            rows += [shared | {"step": step, "loss": loss, "effective rank": rank} for step, loss, rank in path]
    return rows


def ends(paths: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first and last effective rank and loss of every descent."""
    first: dict[tuple, dict] = {}
    last: dict[tuple, dict] = {}
    for row in paths:
        key = tuple(row[name] for name in ("gamma", "logarithm", "gradient", "start"))
        first.setdefault(key, row)
        last[key] = row
    return [
        {
            **dict(zip(("gamma", "logarithm", "gradient", "start"), key, strict=True)),
            "rank before": first[key]["effective rank"],
            "rank after": row["effective rank"],
            "loss before": first[key]["loss"],
            "loss after": row["loss"],
        }
        for key, row in last.items()
    ]


def draw(config: RankConfig, curves: list[dict[str, Any]], paths: list[dict[str, Any]]) -> Figure:
    """Return the figure: loss against rank on the left, effective rank against step for each way beside it."""
    panels = 3 if paths else 1
    figure = Figure(figsize=(4.8 * panels, 4.3), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _draw_closed_form(axes[0], config, curves)
    titles = {
        "online": "Descent as in training: targets are constants",
        "both": "Descent on the closed form: gradient through both",
    }
    for way, panel in zip(WAYS, axes[1:], strict=False):
        _draw_descent(panel, config, [row for row in paths if row["gradient"] == way], titles[way])
    return figure


def _colours(config: RankConfig) -> dict[tuple[float, str], str]:
    return {(o.gamma, name_of(o)): COLOURS[i % len(COLOURS)] for i, o in enumerate(config.cases())}


def _draw_closed_form(axes: Axes, config: RankConfig, curves: list[dict[str, Any]]) -> None:
    for (gamma, logarithm), colour in _colours(config).items():
        rows = [row for row in curves if (row["gamma"], row["logarithm"]) == (gamma, logarithm)]
        ranks, losses = [row["rank"] for row in rows], [row["loss"] for row in rows]
        axes.plot(ranks, losses, color=colour, label=f"gamma {gamma:g}, {logarithm}")
        least = losses.index(min(losses))
        axes.plot(ranks[least], losses[least], "o", color=colour)
    axes.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("rank of a flat spectrum")
    axes.set_ylabel(f"loss relative to full rank ({config.width})")
    axes.set_title(f"Closed form, branches agree (dots: minima)\nmu {config.mu:g}, lam {config.lam:g}", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


def _draw_descent(axes: Axes, config: RankConfig, rows: list[dict[str, Any]], title: str) -> None:
    for (gamma, logarithm), colour in _colours(config).items():
        for start, style in STYLES.items():
            key = (gamma, logarithm, start)
            path = [row for row in rows if (row["gamma"], row["logarithm"], row["start"]) == key]
            values = [row["effective rank"] for row in path]
            axes.plot([row["step"] for row in path], values, style, color=colour)
    full = min(config.free_width, config.samples - 1)
    axes.axhline(full, color="0.7", linewidth=0.8, zorder=0)
    axes.set_ylim(0, full * 1.06)
    axes.set_xlabel("step")
    axes.set_ylabel(f"effective rank of the covariance, at most {full}")
    axes.set_title(f"{title}\n(solid: spread at the start, dashed: two directions tenfold)", fontsize=10)
