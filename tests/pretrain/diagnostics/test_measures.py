"""All measures of a layer: each is its own function's, with definition, samples and an interval that covers."""

import json
import math

import pytest
import torch

from pretrain.diagnostics.geometry import alignment, intra_class_effective_rank, lidar, uniformity
from pretrain.diagnostics.measures import LayerFeatures, measure
from pretrain.diagnostics.spectrum import decay_exponent, effective_rank, entropy, spectrum


def layer(n=60, d=10, q=3, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scales = torch.linspace(1, 0.2, d)
    plain = torch.randn(n, d, generator=generator) * scales + 0.5
    views = plain[:, None] + 0.2 * torch.randn(n, q, d, generator=generator)
    return LayerFeatures(plain, views, torch.arange(n) % classes)


def test_every_measure_is_that_of_its_function():
    x = layer()
    found = measure(x, replicates=0)
    values = {name: m["value"] for name, m in found["measures"].items()}
    expected = {
        "effective_rank": effective_rank(x.plain, "covariance"),
        "rankme": effective_rank(x.plain, "singular_values"),
        "matrix_entropy": entropy(spectrum(x.plain)),
        "alpha_req": decay_exponent(spectrum(x.plain)),
        "uniformity": uniformity(x.plain),
        "intra_class_effective_rank": intra_class_effective_rank(x.plain, x.labels),
        "alignment": alignment(x.views[:, 0], x.views[:, 1]),
        "lidar": lidar(x.views),
    }
    assert values == pytest.approx(expected, rel=1e-9)
    assert found["spectrum"] == spectrum(x.plain).tolist()
    assert found["dimensions"] == 10
    samples = {name: m["samples"] for name, m in found["measures"].items()}
    assert samples["effective_rank"] == samples["uniformity"] == 60
    assert (samples["alignment"], samples["lidar"]) == (120, 180)
    assert all(m["definition"] for m in found["measures"].values())
    assert all(m["low"] is None and m["high"] is None for m in found["measures"].values())
    json.dumps(found, allow_nan=False)


def test_what_needs_views_or_labels_is_left_out_without_them():
    x = layer()
    names = set(measure(LayerFeatures(x.plain), 0)["measures"])
    assert names == {"effective_rank", "matrix_entropy", "rankme", "alpha_req", "uniformity"}
    single = measure(LayerFeatures(x.plain, None, torch.arange(60)), 0)["measures"]  # one image a class
    assert "intra_class_effective_rank" not in single
    few = measure(LayerFeatures(torch.randn(3, 4)), 5)
    assert few["measures"]["alpha_req"]["value"] is None
    json.dumps(few, allow_nan=False)


def test_intervals_are_repeatable_and_shrink_with_the_number_of_images():
    first, again, other = (measure(layer(), 20, seed)["measures"] for seed in (0, 0, 1))
    assert first == again
    assert first["lidar"]["low"] != other["lidar"]["low"]
    for m in first.values():
        assert m["low"] < m["value"] < m["high"]
    wide = {k: m["high"] - m["low"] for k, m in measure(layer(50), 60)["measures"].items()}
    narrow = {k: m["high"] - m["low"] for k, m in measure(layer(800), 60)["measures"].items()}
    for name in ("effective_rank", "rankme", "uniformity", "alignment"):
        assert 2.5 < wide[name] / narrow[name] < 6.5  # 4 expected: the square root of 800 / 50


def test_an_interval_covers_what_other_images_of_the_same_kind_give():
    """The spread over fresh samples of images is the spread that the bootstrap of one sample claims."""
    fresh = [measure(layer(300, 6, seed=seed), 0)["measures"] for seed in range(60)]
    claimed = measure(layer(300, 6), 100)["measures"]
    for name in ("effective_rank", "uniformity", "alignment"):
        spread = torch.tensor([m[name]["value"] for m in fresh]).std().item()
        claim = (claimed[name]["high"] - claimed[name]["low"]) / (2 * 1.96)
        assert 0.6 < claim / spread < 1.6, name


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(value):
    plain = torch.randn(5, 3)
    plain[2, 1] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        measure(LayerFeatures(plain), 0)
    with pytest.raises(ValueError, match="n >= 2"):
        measure(LayerFeatures(torch.randn(1, 3)), 0)
