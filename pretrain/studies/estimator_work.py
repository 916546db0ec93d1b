"""How far the loss of order K is from the exact logarithm's, in value and gradient: table and figure."""

import math
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from benchmark.core.files import write_text
from benchmark.core.progress import progress
from pretrain.diagnostics.spectrum import effective_rank
from pretrain.losses import LossOptions, kernel_ssl_terms
from pretrain.studies.config import EstimatorConfig
from pretrain.studies.output import COLOURS, check_output, markdown_table, write_csv, write_figure
from pretrain.studies.sources import TwoBranches, from_checkpoint, synthetic


def study(config: EstimatorConfig) -> int:
    """Compute, write tables and figure, print the summary; return 0. Raises ``UserError``."""
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


def compare(config: EstimatorConfig, sources: dict[str, TwoBranches]) -> list[dict[str, Any]]:
    """Return one row for each kind of features, mu and order: exact values and relative errors of order K."""
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


def _measure(config: EstimatorConfig, b: TwoBranches, mu: float, order: int | None) -> dict[str, Any]:
    """Return loss and KL divergence with their gradients by the online features, and the spectral radius.

    The kernel KL divergence is tr(P' (log P' - log Q')) - tr(P' - Q') with P' = P + mu I, Q' = Q + mu I: what matrix
    cross-entropy with the tr(Q) term exceeds its own minimum by; zero where P = Q, positive elsewhere.
    """
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


def draw(config: EstimatorConfig, rows: list[dict[str, Any]]) -> Figure:
    """Return the figure: a column for each kind of features, errors of loss and KL against K, a line for each mu."""
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
