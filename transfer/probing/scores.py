"""How right a classifier is: the rank of each image's true class, and what follows from the ranks."""

from collections.abc import Callable

import torch
from scipy.stats import binom
from torch import Tensor

CHUNK = 1024  # rows scored at a time
CONFIDENCE = 0.95


@torch.no_grad()
def ranks(scores: Callable[[Tensor], Tensor], features: Tensor, labels: Tensor) -> tuple[Tensor, int]:
    """Return the rank of the true class of each row, (n,) int64 from 0 = best, and the number of classes.

    `scores` maps (b, d) features to (b, classes); among equal scores the class with the lower number comes first.
    """
    found, classes = [], 0
    for rows, truth in zip(features.split(CHUNK), labels.split(CHUNK), strict=True):
        scored = scores(rows)
        classes = scored.shape[1]
        order = scored.argsort(dim=1, descending=True, stable=True)
        found.append((order == truth[:, None]).int().argmax(dim=1))
    return torch.cat(found), classes


def accuracies(found: Tensor, classes: int) -> dict[str, float]:
    """Return top-1 and, with more than five classes, top-5 accuracy in percent, each with its interval.

    ``top1_low`` and ``top1_high`` are the 95 % percentile interval of a bootstrap over the test images. Resampling n
    images of which a share p is right gives a binomial number of right ones, so that the interval is taken from that
    distribution instead of from random numbers. It is about these images and says nothing of pre-training's seeds.
    """
    metrics, n = {}, len(found)
    for k in (1, 5):
        if k >= classes:
            continue
        right = int((found < k).sum())
        metrics[f"top{k}"] = 100 * right / n
        for name, share in (("low", (1 - CONFIDENCE) / 2), ("high", (1 + CONFIDENCE) / 2)):
            metrics[f"top{k}_{name}"] = 100 * float(binom.ppf(share, n, right / n)) / n
    return metrics


def by_class(found: Tensor, labels: Tensor, names: list[str]) -> dict[str, float | None]:
    """Return top-1 accuracy in percent of each class, None for a class without a test image."""
    table: dict[str, float | None] = {}
    for label, name in enumerate(names):
        of_class = found[labels == label]
        table[name] = 100 * float((of_class == 0).double().mean()) if len(of_class) else None
    return table
