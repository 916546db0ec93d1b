"""All diagnostics of one layer's features, each with its definition, its sample count and a bootstrap interval."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from benchmark.core.progress import progress
from pretrain.diagnostics.geometry import LIDAR_RIDGE, alignment, intra_class_effective_rank, lidar, uniformity
from pretrain.diagnostics.spectrum import (
    DECAY_RANKS,
    decay_exponent,
    eigenvalues,
    entropy,
    spectrum,
)

NORMAL = 1.959964  # standard errors of a 95 % interval


@dataclass(frozen=True)
class LayerFeatures:
    """Features of one layer for the same n images.

    Attributes:
        plain: (n, d), of the images as they are evaluated (no augmentation).
        views: (n, q, d), of q augmented views of each; None where there are none.
        labels: (n,) class numbers; None where there are none.
    """

    plain: Tensor
    views: Tensor | None = None
    labels: Tensor | None = None


@dataclass(frozen=True)
class Measure:
    """One figure: ``value``, its 95 % interval over images (``low``, ``high``; None without bootstrap), in ``unit``.

    ``definition`` says what was computed, ``samples`` of how many features.
    """

    value: float
    low: float | None
    high: float | None
    samples: int
    unit: str
    definition: str


Statistic = Callable[[Tensor], dict[str, float]]  # of the numbers of the images that were drawn


def measure(layer: LayerFeatures, replicates: int = 100, seed: int = 0, what: str = "features") -> dict[str, Any]:
    """Return every diagnostic of a layer as plain values, and its spectrum.

    ``dimensions``; ``measures``: name -> fields of ``Measure``; ``spectrum``: eigenvalues of the centred covariance,
    descending, min(n, d) numbers.

    An interval is the value plus or minus 1.96 standard deviations over `replicates` samples of the images, drawn with
    replacement. It is not made of percentiles: a sample that holds images twice has a lower rank, so that its
    percentiles would lie below the value. 0 replicates: no intervals.

    Raises ``ValueError`` for fewer than 2 images or features that are not finite.
    """
    eigen = spectrum(layer.plain)  # which refuses what cannot be measured
    n, dimensions = layer.plain.shape
    rows = torch.arange(n)
    values = _spectral(layer)(rows) | _geometric(layer)(rows)
    values["rankme"] = math.exp(entropy(spectrum(layer.plain, "singular_values")))  # the exact singular values
    spread = _spread(layer, replicates, seed, what)
    described = _descriptions(layer)
    measures = {}
    for name, value in values.items():
        unit, samples, definition = described[name]
        wide = NORMAL * spread[name] if name in spread else None
        low, high = (None, None) if wide is None or math.isnan(wide) else (value - wide, value + wide)
        value = None if math.isnan(value) else value
        measures[name] = asdict(Measure(value, low, high, samples, unit, definition))
    return {
        "dimensions": dimensions,
        "replicates": replicates,
        "measures": measures,
        "spectrum": eigen.tolist(),
    }


def _spectral(layer: LayerFeatures) -> Statistic:
    rows = layer.plain.detach().double()

    def values(drawn: Tensor) -> dict[str, float]:
        some = rows[drawn]
        variances = eigenvalues(some - some.mean(0)) / len(some)
        bits = entropy(variances)
        return {
            "effective_rank": math.exp(bits),
            "matrix_entropy": bits,
            "rankme": math.exp(entropy(eigenvalues(some).sqrt())),
            "alpha_req": decay_exponent(variances),
        }

    return values


def _geometric(layer: LayerFeatures) -> Statistic:
    n = len(layer.plain)

    def values(drawn: Tensor) -> dict[str, float]:
        found = {"uniformity": uniformity(layer.plain, torch.bincount(drawn, minlength=n))}
        if layer.labels is not None and layer.labels[drawn].bincount().max() >= 2:
            found["intra_class_effective_rank"] = intra_class_effective_rank(layer.plain[drawn], layer.labels[drawn])
        if layer.views is not None:
            found["alignment"] = alignment(layer.views[drawn, 0], layer.views[drawn, 1])
            found["lidar"] = lidar(layer.views[drawn])
        return found

    return values


def _spread(layer: LayerFeatures, replicates: int, seed: int, what: str) -> dict[str, float]:
    """Return the standard deviation of every measure over bootstrap samples of the images."""
    if replicates < 2:
        return {}
    generator = torch.Generator().manual_seed(seed)
    n, spectral, geometric = len(layer.plain), _spectral(layer), _geometric(layer)
    found: dict[str, list[float]] = {}
    for _ in progress(range(replicates), f"intervals of the {what}", "sample"):
        drawn = torch.randint(n, (n,), generator=generator)
        for name, value in (spectral(drawn) | geometric(drawn)).items():
            found.setdefault(name, []).append(value)
    return {name: float(torch.tensor(values, dtype=torch.float64).std()) for name, values in found.items()}


def _descriptions(layer: LayerFeatures) -> dict[str, tuple[str, int, str]]:
    """Return unit, sample count and definition of every measure."""
    n, first, last = len(layer.plain), *DECAY_RANKS
    q = 0 if layer.views is None else layer.views.shape[1]
    inside = "" if layer.labels is None else f", mean over {len(layer.labels.unique())} classes"
    return {
        "effective_rank": ("directions", n, "exp of the entropy of the eigenvalues of the centred covariance"),
        "matrix_entropy": ("nats", n, "-tr(S log S) of the centred covariance with trace one"),
        "rankme": ("directions", n, "exp of the entropy of the singular values of the uncentred features"),
        "alpha_req": ("", n, f"minus the slope of log eigenvalue on log rank, ranks {first} to {last}, weights 1/rank"),
        "uniformity": ("", n, "log mean exp(-2 distance^2) over pairs of images, on the unit sphere; 0 is collapse"),
        "intra_class_effective_rank": ("directions", n, f"effective_rank inside a class{inside}"),
        "alignment": ("", 2 * n, "mean squared distance of two augmented views of an image, on the unit sphere"),
        "lidar": ("directions", q * n, f"linear discriminant analysis rank, {q} views an image, delta {LIDAR_RIDGE:g}"),
    }  # fmt: skip
