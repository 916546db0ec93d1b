"""What is measured on the features of an encoder: two classifiers and effective ranks."""

import torch
from torch import Tensor

from pretrain.diagnostics.spectrum import effective_rank, intra_class_effective_rank
from transfer.probing.features import Features
from transfer.probing.probe import linear_probe, nearest_neighbours
from transfer.probing.run import ProbeRun, settings_of

RANK_SAMPLES, RANK_SAMPLES_OF_A_CLASS = 2048, 128


def measure(run: ProbeRun, train: Features, test: Features) -> dict[str, dict[str, float]]:
    """Return the metrics: ``linear`` and ``knn`` in percent, ``features`` with effective ranks of the training images.

    Effective ranks by the covariance definition and by singular values, of at most 2,048 training images evenly
    spaced; inside classes of at most 128 images each. ``samples`` and ``samples_of_a_class`` say how many there were.
    """
    config, classes, device = run.config, len(run.subject.classes), run.device
    linear = linear_probe(train.pair(), test.pair(), classes, settings_of(config), config.seed, device)
    knn = nearest_neighbours(train.pair(), test.pair(), classes, config.neighbours, config.temperature, device)
    return {"linear": linear, "knn": knn, "features": feature_metrics(*train.pair())}


def feature_metrics(features: Tensor, labels: Tensor) -> dict[str, float]:
    """Return effective rank, RankMe and intra-class effective rank of (n, d) features; see ``measure``."""
    rows = torch.arange(len(features))
    some = evenly(rows, RANK_SAMPLES)
    per_class = [evenly(rows[labels == label], RANK_SAMPLES_OF_A_CLASS) for label in labels.unique()]
    inside = torch.cat(per_class)
    metrics = {
        "effective_rank": effective_rank(features[some], "covariance"),
        "rankme": effective_rank(features[some], "singular_values"),
        "samples": len(some),
    }
    if max(len(part) for part in per_class) >= 2:
        metrics["intra_class_effective_rank"] = intra_class_effective_rank(features[inside], labels[inside])
        metrics["samples_of_a_class"] = len(inside) / len(per_class)
    return metrics


def evenly(rows: Tensor, count: int) -> Tensor:
    """Return at most `count` of the rows, evenly spaced."""
    if len(rows) <= count:
        return rows
    return rows[[i * len(rows) // count for i in range(count)]]
