"""Why AP moved: TIDE's kinds of errors and the sizes of objects (hotcoco), and how sure a difference is over images.

TIDE: Bolya et al. 2020 (arXiv 2008.08115). The bootstrap resamples the validation images, the same ones for both
detectors. It says how much the difference depends on these images; how much it depends on the seed of training is
another uncertainty (``benchmark.comparison``), and the two are never mixed.
"""

from dataclasses import dataclass
from typing import Any

import hotcoco

from benchmark.detections.scoring import evaluated, percent

# TIDE's names -> what they mean for a reader.
ERRORS = {
    "Cls": "right place, wrong class",
    "Loc": "right class, box not tight enough",
    "Both": "wrong class and box not tight enough",
    "Dupe": "the same object found twice",
    "Bkg": "background taken for an object",
    "Miss": "object not found",
}
SIZES = ("APs", "APm", "APl")


@dataclass(frozen=True)
class Errors:
    """What each kind of error costs one detector: points of AP50 that mending it alone would gain, and its count."""

    base_ap50: float | None
    cost: dict[str, float]
    counts: dict[str, int]


@dataclass(frozen=True)
class ImageDifference:
    """B minus A in points of AP on the same images, with the bootstrap interval over the images."""

    metric: str
    difference: float
    low: float
    high: float
    confidence: float
    images: int
    resamples: int


def errors(ground_truth: dict[str, Any], predictions: list[dict[str, Any]], task: str) -> Errors:
    """Return TIDE's errors of one detector at IoU 0.5 (background below 0.1)."""
    if not predictions:
        return Errors(None, dict.fromkeys(ERRORS, 0.0), dict.fromkeys(ERRORS, 0))
    found = evaluated(ground_truth, predictions, task).tide_errors(pos_thr=0.5, bg_thr=0.1)
    cost = {name: 100.0 * float(found["delta_ap"].get(name, 0.0)) for name in ERRORS}
    counts = {name: int(found["counts"].get(name, 0)) for name in ERRORS}
    return Errors(percent(found["ap_base"]), cost, counts)


def difference_over_images(
    ground_truth: dict[str, Any],
    first: list[dict[str, Any]],
    second: list[dict[str, Any]],
    task: str,
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, ImageDifference]:
    """Return the paired bootstrap of `second` minus `first` over images, by metric (AP, AP50, AP75, APs, APm, APl).

    Args:
        resamples: how often the images are drawn with replacement.
        seed: of the drawing.
        confidence: of the percentile interval, between 0 and 1.
    """
    one, two = (evaluated(ground_truth, predictions, task) for predictions in (first, second))
    found = hotcoco.compare(one, two, n_bootstrap=resamples, seed=seed, confidence=confidence)
    made = {}
    for metric, interval in (found["ci"] or {}).items():
        if metric not in ("AP", "AP50", "AP75", *SIZES):
            continue
        low, high = interval["lower"], interval["upper"]
        delta = 100.0 * float(found["deltas"][metric])
        made[metric] = ImageDifference(
            metric, delta, 100.0 * float(low), 100.0 * float(high), confidence, int(found["num_images"]), resamples
        )
    return made
