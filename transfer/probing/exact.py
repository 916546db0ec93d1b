"""The exact linear probe: multinomial logistic regression by L-BFGS, its regularisation chosen on a hold-out.

The loss is convex, so that neither learning rate nor length nor seed decides the result: what remains is the strength
of the L2 penalty, which is chosen on a hold-out of the training images. As in CLIP's evaluation (arXiv 2103.00020,
appendix A.3) but with a hold-out of the same training set. The test images are not looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.core.progress import progress
from transfer.probing.scores import ranks

STRENGTHS = tuple(10.0**power for power in range(2, -8, -1))  # of the L2 penalty, strongest first
HOLDOUT = 0.2  # share of each class
MAX_ITERATIONS = 1000
TOLERANCE = 1e-6  # of the largest entry of the gradient
ROWS = 65_536  # converted to float64 at a time


@dataclass(frozen=True)
class Exact:
    """A fitted classifier: features are standardised, then (b, d) @ weight (d, classes) + bias (classes,)."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    l2: float

    def scores(self, features: Tensor) -> Tensor:
        """Return (b, classes) scores of (b, d) features."""
        return ((features.double() - self.mean) / self.scale) @ self.weight + self.bias


def exact_probe(
    features: Tensor, labels: Tensor, classes: int, seed: int, strengths: Sequence[float] = STRENGTHS
) -> Exact:
    """Fit the classifier with the best strength, on all rows.

    Args:
        features: (n, d) float32.  labels: (n,) int64 in [0, classes).
        classes: number of classes, each with at least one row.
        seed: of the hold-out.
        strengths: of the penalty, to choose from; the strongest of several equally good ones is taken.
    """
    kept, held_out = split(labels, HOLDOUT, seed)
    best, most = strengths[0], -1
    start: Exact | None = None
    if len(held_out):
        for l2 in progress(strengths, "exact probe", "strength"):
            start = fit(features[kept], labels[kept], classes, l2, start)
            found, _ = ranks(start.scores, features[held_out], labels[held_out])
            right = int((found == 0).sum())
            if right > most:
                best, most = l2, right
    return fit(features, labels, classes, best)


def split(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the numbers of the rows to keep and of those held out: `share` of each class, at least one of two or more.

    A class with a single row keeps it.
    """
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        rows = torch.nonzero(labels == label).flatten()
        count = max(1, round(share * len(rows))) if len(rows) > 1 else 0
        held_out[rows[torch.randperm(len(rows), generator=generator)[:count]]] = True
    return torch.nonzero(~held_out).flatten(), torch.nonzero(held_out).flatten()


def fit(features: Tensor, labels: Tensor, classes: int, l2: float, start: Exact | None = None) -> Exact:
    """Minimise the mean cross entropy + l2 / 2 * |weight|^2 in float64; `start`: weights to begin with, or zeros.

    Features are standardised by their own mean and deviation, of which the penalty's meaning depends.
    """
    mean = _mean(features)
    scale = _deviation(features, mean)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    weight = torch.zeros(features.shape[1], classes, dtype=torch.float64) if start is None else start.weight.clone()
    bias = torch.zeros(classes, dtype=torch.float64) if start is None else start.bias.clone()
    weight.requires_grad_(), bias.requires_grad_()
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=MAX_ITERATIONS, tolerance_grad=TOLERANCE, tolerance_change=0.0, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    small = [(features.double() - mean) / scale] if len(features) <= ROWS else None  # else computed again each time

    def closure() -> Tensor:
        optimiser.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        standardised = small or ((rows.double() - mean) / scale for rows in features.split(ROWS))
        for rows, truth in zip(standardised, labels.split(ROWS), strict=True):
            scores = rows @ weight + bias
            part = F.cross_entropy(scores, truth, reduction="sum") / len(features)
            part.backward()
            total += part.detach()
        penalty = l2 / 2 * weight.square().sum()
        penalty.backward()
        return total + penalty.detach()

    optimiser.step(closure)
    return Exact(mean, scale, weight.detach(), bias.detach(), l2)


def _mean(features: Tensor) -> Tensor:
    return sum(rows.double().sum(0) for rows in features.split(ROWS)) / len(features)


def _deviation(features: Tensor, mean: Tensor) -> Tensor:
    squares = sum((rows.double() - mean).square().sum(0) for rows in features.split(ROWS))
    return (squares / len(features)).sqrt()
