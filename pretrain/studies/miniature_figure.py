"""The figure of the miniature study: outcomes of every setting at E and 2E epochs, each seed a dot."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    """Return the figure: one panel an outcome, one line a method, open dots E epochs, filled dots 2E."""
    names = [*plan.methods, "supervised"]
    figure = Figure(figsize=(11.5, 0.42 * len(names) + 1.6), layout="constrained")
    panels = figure.subplots(1, len(TITLES), sharey=True)
    for panel, (metric, title) in zip(panels, TITLES.items(), strict=True):
        for place, name in enumerate(names):
            for shift, epochs, colour in ((-0.15, plan.epochs[0], SHORT), (0.15, plan.epochs[1], LONG)):
                _dots(panel, place + shift, of_setting(found, setting_name(name, epochs)), metric, colour)
        _floor(panel, found, metric)
        panel.set_title(title, fontsize=10)
        panel.grid(axis="x", color="0.9")
        panel.set_axisbelow(True)
    panels[0].set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    panels[0].invert_yaxis()
    handles = [panels[0].plot([], [], "o", color=colour)[0] for colour in (SHORT, LONG)]
    handles.append(panels[0].plot([], [], "--", color="0.5")[0])
    labels = [f"{plan.epochs[0]} epochs", f"{plan.epochs[1]} epochs", "untrained encoder"]
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


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
        panel.axvline(sum(values) / len(values), linestyle="--", color="0.5", linewidth=1)
