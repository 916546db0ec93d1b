"""``python pretrain/studies/rank.py``: what the objective prefers, by rank, and where gradient descent ends.

The closed form of a flat spectrum (branches agree), and free feature matrices optimised directly.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core.errors import UserError, run_command
from benchmark.core.folder import RESULTS
from benchmark.core.options import check_choices, option, parse
from benchmark.core.progress import progress
from pretrain.loss_options import LossOptions
from pretrain.studies.flat import flat_loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROG = "python pretrain/studies/rank.py"
DESCRIPTION = (
    "Draw the Kernel-SSL loss against the rank of the features where the branches agree (closed form), and the "
    "effective rank of free feature matrices while gradient descent optimises them (no network)."
)
TABLE_RANKS = (1, 2, 3, 5, 16, 256)
STYLES = {"spread": "-", "narrow": "--"}


@dataclass(frozen=True)
class RankConfig:
    """The options of the study."""

    mu: float = option(1.0, "regulariser of the matrix logarithm", group="Loss")
    lam: float = option(1.0, "weight of the identity in uniformity", group="Loss")
    gammas: tuple[float, ...] = option((0.0, 0.5, 1.0), "weights of alignment, e.g. 0,0.1,1", group="Loss")
    taylor_order: int = option(4, "order K of the Taylor logarithm, >= 1", group="Loss")
    logarithm: str = option("both", "matrix logarithm", group="Loss", choices=("taylor", "exact", "both"))
    width: int = option(2048, "dimension d of the closed form", group="Closed form")
    samples: int = option(64, "rows of a free feature matrix", group="Descent")
    free_width: int = option(16, "columns of a free feature matrix", group="Descent")
    steps: int = option(1000, "steps of gradient descent; 0: closed form only", group="Descent")
    lr: float = option(1.0, "learning rate per row", group="Descent")
    seed: int = option(0, "of the features at the start", group="Descent")
    output: str = option(str(RESULTS / "studies" / "rank"), "folder of tables and figure", group="Output")

    def __post_init__(self) -> None:
        check_choices(self)
        if not self.gammas:
            raise UserError("--gammas is empty; give one or more, such as 0,0.1,1.")
        for name, least in (("width", 2), ("samples", 2), ("free_width", 2), ("steps", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be {least} or more.")
        if not self.lr > 0:
            raise UserError(f"--lr is {self.lr}; it must be above 0.")
        self.cases()

    def cases(self) -> list[LossOptions]:
        """Return the losses to compare: every gamma with every logarithm. Raises ``UserError`` for senseless ones."""
        return [
            LossOptions(mu=self.mu, lam=self.lam, gamma=gamma, logarithm=logarithm, **self._order(logarithm))
            for logarithm in (("taylor", "exact") if self.logarithm == "both" else (self.logarithm,))
            for gamma in self.gammas
        ]

    def _order(self, logarithm: str) -> dict[str, int]:
        return {"taylor_order": self.taylor_order} if logarithm == "taylor" else {}


def main(argv: list[str] | None = None) -> int:
    """Run the study as the command line says. Raises ``UserError``."""
    config = parse(RankConfig, argv, PROG, DESCRIPTION)
    from benchmark.core.files import write_text
    from pretrain.studies.output import check_output, markdown_table, write_csv, write_figure

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
    from pretrain.studies.descent import STARTS, WAYS, descend, start_features

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


def draw(config: RankConfig, curves: list[dict[str, Any]], paths: list[dict[str, Any]]) -> "Figure":
    """Return the figure: loss against rank on the left, effective rank against step for each way beside it."""
    from matplotlib.figure import Figure

    from pretrain.studies.descent import WAYS

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
    from pretrain.studies.output import COLOURS

    return {(o.gamma, name_of(o)): COLOURS[i % len(COLOURS)] for i, o in enumerate(config.cases())}


def _draw_closed_form(axes: "Axes", config: RankConfig, curves: list[dict[str, Any]]) -> None:
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


def _draw_descent(axes: "Axes", config: RankConfig, rows: list[dict[str, Any]], title: str) -> None:
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


if __name__ == "__main__":
    raise SystemExit(run_command(main))
