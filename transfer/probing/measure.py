"""What is measured on the features of an encoder: three classifiers and effective ranks."""

from typing import Any

import torch
from torch import Tensor

from pretrain.diagnostics.geometry import intra_class_effective_rank
from pretrain.diagnostics.spectrum import effective_rank
from transfer.probing.exact import exact_probe
from transfer.probing.features import Features
from transfer.probing.probe import linear_probe, nearest_neighbours
from transfer.probing.run import ProbeRun
from transfer.probing.scores import accuracies, by_class, ranks

Metrics = dict[str, dict[str, float]]
RANK_SAMPLES, RANK_SAMPLES_OF_A_CLASS = 2048, 128


def measure(run: ProbeRun, train: Features, test: Features) -> tuple[Metrics, dict[str, Any]]:
    """Probe features by three classifiers, and measure their effective ranks.

    Returns:
        The metrics: ``linear`` (trained by steps), ``linear_exact``, ``knn`` and with more than one k ``knn_<k>`` in
        percent with intervals; ``features`` with effective ranks of the training images, by the covariance definition
        and by singular values, of at most 2,048 images evenly spaced, inside classes of at most 128 images each
        (``samples`` and ``samples_of_a_class`` say how many there were). And details for the record: accuracy of each
        class, and the chosen strength of the penalty.
    """
    config, names, device = run.config, run.subject.classes, run.device
    classes, found, metrics = len(names), {}, {}
    found["linear"], metrics["linear"] = linear_probe(
        train.pair(), test.pair(), classes, config.probe, config.seed, device
    )
    exact = exact_probe(*train.pair(), classes, config.seed)
    found["linear_exact"], _ = ranks(exact.scores, *test.pair())
    metrics["linear_exact"] = accuracies(found["linear_exact"], classes)
    for number, k in enumerate(run.subject.neighbours):
        name = f"knn_{k}" if number else "knn"
        found[name], metrics[name] = nearest_neighbours(
            train.pair(), test.pair(), classes, k, config.temperature, device
        )
    metrics["features"] = feature_metrics(*train.pair())
    details = {"top1_by_class": {name: by_class(rank, test.labels, names) for name, rank in found.items()}}
    return metrics, details | {"exact_probe_l2": exact.l2}


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
