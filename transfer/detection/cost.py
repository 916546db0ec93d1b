"""How long a fine-tuning will take and how much memory it needs, from records of the same settings or others' logs.

The table holds what others logged for these very protocols on 8 x A100 in fp32 with 16 images an iteration (RegionCL's
logs of fine-tuning with Detectron2). It is scaled by the number of images of an iteration and by nothing else, so it
is an estimate for such a machine and says so; measured runs of the same settings come first.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from benchmark.records import RunRecord
from transfer.protocols.resolve import Protocol

LOGGED_IMAGES, LOGGED_MACHINE = 16, "8 x A100, fp32, 2 images a GPU (RegionCL's logs)"


@dataclass(frozen=True)
class Logged:
    """Seconds of an iteration of 16 images, and memory of a GPU in GB, as others logged them."""

    seconds: float
    memory_gb: float


LOGGED = {"C4": Logged(0.284, 10.1), "FPN": Logged(0.206, 6.7)}
FULL_SIZE = 600  # px: the logged runs train at 640 to 800 px; much smaller images are not comparable


def estimate(protocol: Protocol, records: Iterable[RunRecord]) -> list[str]:
    """Return lines for people on hours and memory of a run with this protocol.

    Args:
        protocol: resolved, for its hash, detector and schedule.
        records: of earlier runs; those that completed with the same settings are counted, by the machine they ran on.
    """
    measured = _measured(protocol, records)
    if measured:
        return measured
    cfg = protocol.cfg
    if min(cfg.INPUT.MIN_SIZE_TRAIN) < FULL_SIZE:
        return ["no run with these settings has been recorded yet"]
    logged = LOGGED["FPN" if "fpn" in cfg.MODEL.BACKBONE.NAME else "C4"]
    hours = cfg.SOLVER.MAX_ITER * cfg.SOLVER.IMS_PER_BATCH * logged.seconds / LOGGED_IMAGES / 3600
    return [
        f"about {hours:.1f} h ({8 * hours:.0f} GPU hours) and {logged.memory_gb} GB a GPU on {LOGGED_MACHINE}; "
        "no run with these settings has been recorded here"
    ]


def _measured(protocol: Protocol, records: Iterable[RunRecord]) -> list[str]:
    """Return a line for each machine that completed runs with these settings, quickest first."""
    hours: dict[str, list[float]] = defaultdict(list)
    for record in records:
        same = record.kind == "detection" and record.status == "completed" and record.protocol_hash == protocol.hash
        if same and record.duration_seconds:
            machine = f"{record.hardware.get('processes', 1)} x {record.hardware.get('name', 'a machine without name')}"
            hours[machine].append(record.duration_seconds / 3600)
    return [
        f"{statistics.median(times):.2f} h on {machine} (median of {len(times)} recorded run{'s'[: len(times) > 1]})"
        for machine, times in sorted(hours.items(), key=lambda item: statistics.median(item[1]))
    ]
