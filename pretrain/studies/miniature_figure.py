"""The figure of the miniature study: outcomes of every setting at E and 2E epochs, each seed a dot; holes are named."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.comparison.methods import name_of
from pretrain.studies.miniature_plan import Plan, setting_name
from pretrain.studies.output import COLOURS
from pretrain.studies.probed import RANDOM, Probed, of_setting

SHORT, LONG = COLOURS[5], COLOURS[0]
TITLES = {
    "linear_exact": "Linear probe (exact), top-1 in %",
    "knn": "20 nearest neighbours, top-1 in %",
    "effective_rank": "Effective rank of the features",
}


def draw(plan: Plan, found: list[Probed]) -> Figure:
    """Return the figure: one panel an outcome, one line a setting, light dots E epochs, dark dots 2E."""
    names = [*plan.methods, "supervised"]
    figure = Figure(figsize=(11.5, 0.42 * len(names) + 1.6), layout="constrained")
    panels = figure.subplots(1, len(TITLES), sharey=True)
    for panel, (metric, title) in zip(panels, TITLES.items(), strict=True):
        for place, name in enumerate(names):
            probed = {epochs: of_setting(found, setting_name(name, epochs)) for epochs in plan.epochs}
            for shift, epochs, colour in ((-0.15, plan.epochs[0], SHORT), (0.15, plan.epochs[1], LONG)):
                _dots(panel, place + shift, probed[epochs], metric, colour)
            if panel is panels[0]:
                _hole(panel, place, [epochs for epochs, probes in probed.items() if not probes], plan)
        _floor(panel, found, metric)
        panel.set_title(title, fontsize=10)
        panel.grid(axis="x", color="0.9")
        panel.set_axisbelow(True)
    panels[0].set_yticks(range(len(names)), [label(plan, name) for name in names])
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    handles = [panels[0].plot([], [], "o", color=colour)[0] for colour in (SHORT, LONG)]
    handles.append(panels[0].plot([], [], "--", color="0.5")[0])
    labels = [f"{epochs} epochs, a dot a seed" for epochs in plan.epochs] + ["untrained encoder, mean of seeds"]
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def label(plan: Plan, name: str) -> str:
    """Return a setting as people write it, such as ``Kernel-SSL, gamma 0.1``."""
    method = str(plan.methods.get(name, {}).get("method", name))
    rest = name.removeprefix(method).strip("_").replace("_", " ")
    return name_of(method) + (f", {rest}" if rest else "")


def _hole(panel: Axes, place: int, missing: list[int], plan: Plan) -> None:
    """Write at the line's beginning which lengths have not run."""
    if missing:
        text = "not run" if len(missing) == len(plan.epochs) else f"{missing[0]} epochs not run"
        panel.text(
            0.02, place, text, transform=panel.get_yaxis_transform(), va="center", fontsize=7, color="0.5",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}, zorder=1.5,  # above the floor, below dots
        )  # fmt: skip


def _dots(panel: Axes, height: float, probes: list[Probed], metric: str, colour: str) -> None:
    """Draw the seeds of one setting, and their mean as a bar where there are several."""
    values = [value for probe in probes if (value := probe.value(metric)) is not None]
    panel.plot(values, [height] * len(values), "o", color=colour, markersize=5, alpha=0.8)
    if len(values) > 1:
        mean = sum(values) / len(values)
        panel.plot([mean, mean], [height - 0.14, height + 0.14], color=colour, linewidth=2)


def _floor(panel: Axes, found: list[Probed], metric: str) -> None:
    values = [value for probe in of_setting(found, RANDOM) if (value := probe.value(metric)) is not None]
    if values:
        panel.axvline(sum(values) / len(values), linestyle="--", color="0.5", linewidth=1, zorder=1)
