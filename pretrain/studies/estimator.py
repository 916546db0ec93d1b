"""``python pretrain/studies/estimator.py``: when is the Taylor loss a good estimator?

Exact kernel KL divergence and exact loss against those of order K, in value and in gradient, for several regularisers
mu and for features that are spread, clustered and collapsed, or those of a checkpoint.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core.errors import UserError, run_command
from benchmark.core.folder import RESULTS
from benchmark.core.options import check_choices, option, parse
from benchmark.core.progress import progress
from pretrain.loss_options import KERNELS, LossOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pretrain.studies.sources import TwoBranches

PROG = "python pretrain/studies/estimator.py"
DESCRIPTION = (
    "Compare the Kernel-SSL loss of order K with the exact logarithm's, and with the exact kernel KL divergence, in "
    "value and gradient; on synthetic features and, with --weights, on those of a checkpoint."
)


@dataclass(frozen=True)
class EstimatorConfig:
    """The options of the study."""

    mus: tuple[float, ...] = option((0.25, 0.5, 1.0, 1.5), "regularisers mu, e.g. 0.5,1", group="Loss")
    orders: int = option(8, "compare orders K = 1 to this", group="Loss")
    gamma: float = option(1.0, "weight of alignment in the loss", group="Loss")
    kernel: str = option("linear", "kernel of the covariance operators", group="Loss", choices=KERNELS)
    samples: int = option(512, "rows of the synthetic features", group="Features")
    width: int = option(128, "columns of the synthetic features", group="Features")
    weights: str | None = option(
        None, "checkpoint of pretrain/run.py whose features are compared as well", group="Features"
    )
    data: str | None = option(None, "image folder for --weights; default embedded photographs", group="Features")
    images: int = option(256, "images for --weights; a multiple of 32, or fewer", group="Features")
    seed: int = option(0, "of the synthetic features and of the views", group="Features")
    output: str = option(str(RESULTS / "studies" / "estimator"), "folder of tables and figure", group="Output")

    def __post_init__(self) -> None:
        check_choices(self)
        for name, least in (("orders", 1), ("samples", 4), ("width", 2), ("images", 4), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} is {getattr(self, name)}; it must be {least} or more.")
        if not self.mus or min(self.mus) <= 0:
            raise UserError("--mus must hold one or more numbers above 0; the exact logarithm needs them.")
        if self.data is not None and self.weights is None:
            raise UserError("--data has no effect without --weights; give the checkpoint too.")
        LossOptions(gamma=self.gamma)


def main(argv: list[str] | None = None) -> int:
    """Run the study as the command line says. Raises ``UserError``."""
    config = parse(EstimatorConfig, argv, PROG, DESCRIPTION)
    from benchmark.core.files import write_text
    from pretrain.studies.output import check_output, markdown_table, write_csv, write_figure
    from pretrain.studies.sources import from_checkpoint, synthetic

    output = Path(config.output)
    check_output(output)
    sources = synthetic(config.samples, config.width, config.seed)
    if config.weights is not None:
        sources["checkpoint"] = from_checkpoint(config.weights, config.data, config.images, config.seed)
    rows = compare(config, sources)
    write_csv(output / "estimator.csv", rows)
    text = markdown_table([row for row in rows if row["K"] in (1, 2, 4, 8)])
    write_text(output / "estimator.md", text)
    write_figure(output / "estimator.png", draw(config, rows))
    print(text)
    print(f"done: {output}")
    return 0


def compare(config: EstimatorConfig, sources: dict[str, "TwoBranches"]) -> list[dict[str, Any]]:
    """Return one row for each kind of features, mu and order: exact values and relative errors of order K."""
    from pretrain.diagnostics.spectrum import effective_rank

    rows = []
    with progress(None, "comparing", "case", total=len(sources) * len(config.mus) * (config.orders + 1)) as bar:
        for name, branches in sources.items():
            rank = effective_rank(branches.target_1)
            for mu in config.mus:
                exact = _measure(config, branches, mu, None)
                bar.update()
                for order in range(1, config.orders + 1):
                    found = _measure(config, branches, mu, order)
                    bar.update()
                    rows.append(
                        {
                            "features": name,
                            "effective rank": rank,
                            "mu": mu,
                            "K": order,
                            "radius": found["radius"],
                            "KL": exact["KL"],
                            "KL error": _relative(found["KL"], exact["KL"]),
                            "KL gradient error": _relative(found["KL gradient"], exact["KL gradient"]),
                            "loss": exact["loss"],
                            "loss error": _relative(found["loss"], exact["loss"]),
                            "loss gradient error": _relative(found["loss gradient"], exact["loss gradient"]),
                        }
                    )
    return rows


def _relative(found: Any, exact: Any) -> float:
    """Return |found - exact| / |exact| of numbers or tensors."""
    if isinstance(exact, float):
        return abs(found - exact) / abs(exact) if exact else math.nan
    return float((found - exact).norm() / exact.norm())


def _measure(config: EstimatorConfig, b: "TwoBranches", mu: float, order: int | None) -> dict[str, Any]:
    """Return loss and KL divergence with their gradients by the online features, and the spectral radius.

    The kernel KL divergence is tr(P' (log P' - log Q')) - tr(P' - Q') with P' = P + mu I, Q' = Q + mu I: what matrix
    cross-entropy with the tr(Q) term exceeds its own minimum by; zero where P = Q, positive elsewhere.
    """
    import torch

    from pretrain.losses import kernel_ssl_terms

    kind: dict[str, Any] = {"logarithm": "exact"} if order is None else {"taylor_order": order}
    shared = {"mu": mu, "kernel": config.kernel, **kind}
    online = [b.online_1.clone().requires_grad_(), b.online_2.clone().requires_grad_()]
    loss = kernel_ssl_terms(
        *online, b.target_1, b.target_2, LossOptions(gamma=config.gamma, **shared), with_radius=True
    )
    alone = LossOptions(uniformity="none", trace_term=True, **shared)
    cross_entropy = kernel_ssl_terms(*online, b.target_1, b.target_2, alone)
    # The views are crossed, so this pairs every target with itself.
    entropy = kernel_ssl_terms(b.target_2, b.target_1, b.target_1, b.target_2, alone)
    radii = [float(radius) for radius in (loss.radius_uniformity, loss.radius_alignment) if radius is not None]
    return {
        "radius": max(radii),
        "loss": loss.loss.item(),
        "loss gradient": torch.cat(torch.autograd.grad(loss.loss, online)),
        "KL": (cross_entropy.loss - entropy.loss).item(),
        "KL gradient": torch.cat(torch.autograd.grad(cross_entropy.loss, online)),
    }


def draw(config: EstimatorConfig, rows: list[dict[str, Any]]) -> "Figure":
    """Return the figure: a column for each kind of features, errors of loss and KL against K, a line for each mu."""
    from matplotlib.figure import Figure

    from pretrain.studies.output import COLOURS

    kinds = list(dict.fromkeys(row["features"] for row in rows))
    measures = ("loss error", "loss gradient error", "KL error", "KL gradient error")
    figure = Figure(figsize=(3.4 * len(kinds) + 0.6, 9.6), layout="constrained")
    grid = figure.subplots(len(measures), len(kinds), squeeze=False, sharex=True, sharey="row")
    for column, kind in enumerate(kinds):
        for line, measure in enumerate(measures):
            axes = grid[line][column]
            for mu, colour in zip(config.mus, COLOURS * len(config.mus), strict=False):
                found = [row for row in rows if row["features"] == kind and row["mu"] == mu]
                # The floor of a picture: rounding in float64 is below it, and zero has no place on a log axis.
                errors = [max(row[measure], 1e-12) for row in found]
                axes.plot([row["K"] for row in found], errors, "o-", markersize=3, color=colour, label=f"mu {mu:g}")
            axes.axhline(0.1, color="0.7", linewidth=0.8, zorder=0)
            axes.set_yscale("log")
            axes.grid(axis="y", color="0.93")
            if column == 0:
                axes.set_ylabel(f"{measure} (relative)")
        rank = next(row["effective rank"] for row in rows if row["features"] == kind)
        grid[0][column].set_title(f"{kind}\neffective rank {rank:.1f}", fontsize=10)
        grid[-1][column].set_xlabel("order K")
    grid[0][0].legend(frameon=False, fontsize=8)
    figure.suptitle(f"Order K against the exact logarithm, {config.kernel} kernel (grey line: 10 %)", fontsize=11)
    return figure


if __name__ == "__main__":
    raise SystemExit(run_command(main))
