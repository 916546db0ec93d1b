"""Probes of a suite's pre-trainings, read from its records: what studies are tabulated from."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.comparison.inference import half_width
from benchmark.comparison.repeats import Repeat, summarise
from benchmark.records import RunRecord

FOLDER = re.compile(r"^pretrain-(?P<setting>.+)-seed(?P<seed>\d+)-[0-9a-f]{8}$")  # as benchmark/run.py names it
KEPT = re.compile(r"^checkpoint_(?P<epoch>\d+)\.pth$")
RANDOM = "random"
FEATURES = "features"  # the part of a probe's metrics that is no accuracy


@dataclass(frozen=True)
class Probed:
    """One probe of the ``setting`` with ``seed``, named as the suite names its pre-training (``random``: untrained)."""

    setting: str
    seed: int
    record: RunRecord
    epoch: int | None = None  # of a checkpoint kept during training, None for the last one

    def value(self, metric: str) -> float | None:
        """Return top-1 in percent of a classifier, such as ``knn``, or a rank, such as ``effective_rank``."""
        found = self.record.metrics
        value = found[metric]["top1"] if metric in found else found.get(FEATURES, {}).get(metric)
        return None if value is None else float(value)

    def image_half_width(self, metric: str) -> float | None:
        """Return half the width of the interval that the bootstrap over test images gave, in points of top-1."""
        scores = self.record.metrics.get(metric, {})
        return (scores["top1_high"] - scores["top1_low"]) / 2 if "top1_low" in scores else None


def probes(records: Iterable[RunRecord]) -> list[Probed]:
    """Return the completed probes of last checkpoints among records, sorted by setting and seed."""
    return [probe for probe in all_probes(records) if probe.epoch is None]


def all_probes(records: Iterable[RunRecord]) -> list[Probed]:
    """Return all completed probes among records, those of kept checkpoints too, sorted by setting, seed and epoch."""
    found = []
    for record in records:
        if record.kind != "classification" or record.status != "completed":
            continue
        weights = Path(str(record.config.get("weights")))
        folder, kept = FOLDER.match(weights.parent.name), KEPT.match(weights.name)
        if folder:
            epoch = int(kept["epoch"]) if kept else None
            found.append(Probed(folder["setting"], int(folder["seed"]), record, epoch))
        elif weights.name == RANDOM:
            found.append(Probed(RANDOM, int(record.seed), record))
    return sorted(found, key=lambda probe: (probe.setting, probe.seed, probe.epoch or 0))


def diverged(records: Iterable[RunRecord]) -> set[str]:
    """Return the settings that have a pre-training which diverged."""
    folders = [
        FOLDER.match(Path(str(record.config.get("output"))).name)
        for record in records
        if record.kind == "pretrain" and record.status == "diverged"
    ]
    return {folder["setting"] for folder in folders if folder}


def of_setting(found: Sequence[Probed], setting: str) -> list[Probed]:
    """Return the probes of one setting, by seed."""
    return [probe for probe in found if probe.setting == setting]


def repeats(found: Sequence[Probed], metric: str) -> list[Repeat]:
    """Return the values of one setting as repeats whose checkpoints differ: each seed pre-trained its own."""
    values = [(probe, probe.value(metric)) for probe in found]
    return [
        Repeat(probe.seed, value, probe.record.id, f"{probe.setting} {probe.seed}", probe.seed)
        for probe, value in values
        if value is not None
    ]


@dataclass(frozen=True)
class Spread:
    """Mean of ``n`` seeds and half of its 95 % interval over seeds, None for one seed."""

    n: int
    mean: float
    half: float | None

    def text(self, digits: int = 1) -> str:
        """Return ``46.3 ± 1.2``, or ``46.3`` for one seed."""
        return f"{self.mean:.{digits}f}" + ("" if self.half is None else f" ± {self.half:.{digits}f}")


def spread(found: Sequence[Probed], metric: str) -> Spread | None:
    """Return mean and interval over the seeds of one setting, None where it has no value."""
    summary = summarise(repeats(found, metric))
    if summary is None:
        return None
    half = half_width(summary.sd / summary.n**0.5, summary.n - 1) if summary.sd is not None else None
    return Spread(summary.n, summary.mean, half)
