"""What the planned repeats can show: the smallest difference in AP that they see with 80 % power."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.comparison.inference import detectable, runs_needed
from benchmark.comparison.repeats import MARGIN
from benchmark.comparison.rows import detection_tables
from benchmark.records import RunRecord
from benchmark.runner.planned import PlannedRun

# sd of box AP between repeats, as published. COCO: INTL at C4 2x; K. He on moco#39 and mmdetection#3496. VOC: MoCo.
PUBLISHED_SD = {"coco": (0.12, 0.3), "voc": (0.2,)}
MIN_FREEDOM = 4  # of a measured sd, to be believed


@dataclass(frozen=True)
class Power:
    """What one comparison of a suite can show.

    Attributes:
        comparison: protocol and script.
        repeats: independent runs a side (the least of its settings).
        units: ``checkpoints`` where every trained setting has several pre-training seeds, else ``fine-tunings``.
        sds: one sd that was measured, or the range of published ones; empty where nobody has measured it.
        source: where they come from.
        smallest: smallest visible difference in AP for each sd; None for one run a side.
        runs_for_margin: runs a side that would see ``MARGIN``, for each sd; None where over 1,000.
    """

    comparison: str
    repeats: int
    units: str
    sds: tuple[float, ...]
    source: str
    smallest: tuple[float | None, ...]
    runs_for_margin: tuple[int | None, ...]


def powers(runs: Sequence[PlannedRun], records: Iterable[RunRecord]) -> list[Power]:
    """Return what each group of fine-tuning runs of a suite (one script, one protocol) can show."""
    groups: dict[str, list[PlannedRun]] = defaultdict(list)
    for run in runs:
        if run.kind in ("coco", "voc"):
            groups[str(run.options.get("protocol", run.kind))].append(run)
    records = list(records)
    return [_power(name, group, records) for name, group in groups.items() if len({r.group for r in group}) > 1]


def _power(protocol: str, group: Sequence[PlannedRun], records: Sequence[RunRecord]) -> Power:
    settings: dict[str, list[PlannedRun]] = defaultdict(list)
    for run in group:
        settings[run.group].append(run)
    checkpoints = [len({run.needs for run in found}) for found in settings.values() if found[0].needs]
    by_checkpoint = bool(checkpoints) and min(checkpoints) > 1
    counts = [len({run.needs for run in found}) if found[0].needs and by_checkpoint else len(found)
              for found in settings.values()]  # fmt: skip
    repeats, freedom = min(counts), sum(count - 1 for count in counts)  # the verdict pools the sd over the settings
    measured = measured_sd(protocol, records)
    sds = PUBLISHED_SD.get(protocol.partition("-")[0], ()) if measured is None else (measured[0],)
    source = "published repeats" if measured is None else f"this suite's records, {measured[1]} degrees of freedom"
    return Power(
        protocol,
        repeats,
        "checkpoints" if by_checkpoint else "fine-tunings",
        sds,
        source,
        tuple(detectable(sd, repeats, freedom) for sd in sds),
        tuple(runs_needed(sd, MARGIN) for sd in sds),
    )


def measured_sd(protocol: str, records: Sequence[RunRecord]) -> tuple[float, int] | None:
    """Return the sd of box AP between runs of one setting, pooled over the settings of a protocol, with its freedom.

    None below ``MIN_FREEDOM`` degrees of freedom, where a published figure is the better guess.
    """
    squares, freedom = 0.0, 0
    for table in detection_tables([r for r in records if r.kind == "pretrain" or r.protocol == protocol], []):
        for row in table.measured:
            values = row.numbers("bbox", "AP")
            if row.origin == "measured" and len(values) > 1:
                squares += float(np.var(values, ddof=1)) * (len(values) - 1)
                freedom += len(values) - 1
    return ((squares / freedom) ** 0.5, freedom) if freedom >= MIN_FREEDOM else None
