"""Records as a tidy pandas DataFrame: one figure a line, for one's own analysis and plots."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.records.reading import read_records
from benchmark.records.record import RECORDS, RunRecord

# Columns from the record, then three from its details, then the figure itself.
OF_RECORD = (
    "id", "kind", "status", "method", "method_source", "epochs", "epochs_source", "total_epochs", "branch",
    "pretrain_seed", "seed", "protocol", "protocol_hash", "data", "weights_sha256", "file_sha256", "duration_seconds",
    "git_commit", "config_hash", "created",
)  # fmt: skip
OF_DETAILS = ("lr", "lr_chosen_by", "fraction")
COLUMNS = (*OF_RECORD, *OF_DETAILS, "gpu_hours", "task", "metric", "value")
_WHOLE = ("epochs", "total_epochs")  # with gaps; seeds stay Python's integers, which have no bound
_NUMBERS = ("duration_seconds", "lr", "fraction", "gpu_hours", "value")


def read_frame(folder: str | Path = RECORDS) -> pd.DataFrame:
    """Return all figures of a folder of records, one a line; see ``to_frame``. Raises ``UserError`` for a bad file."""
    return to_frame(read_records(folder))


def to_frame(records: Iterable[RunRecord]) -> pd.DataFrame:
    """Return the figures of records as a tidy frame.

    The columns are ``COLUMNS``: ``task`` (bbox, segm, pretrain, linear ...), ``metric`` and ``value`` (AP in percent)
    hold the figure, the others the run. A run without figures, one that failed say, has one line whose task, metric and
    value are missing, so that no run is left out.
    """
    lines: list[dict[str, Any]] = []
    for record in records:
        shared = {name: getattr(record, name) for name in OF_RECORD}
        shared |= {name: record.details.get(name) for name in OF_DETAILS} | {"gpu_hours": record.gpu_hours}
        figures = [(task, metric, value) for task, found in record.metrics.items() for metric, value in found.items()]
        for task, metric, value in figures or [(None, None, None)]:
            lines.append({**shared, "task": task, "metric": metric, "value": value})
    frame = pd.DataFrame(lines, columns=list(COLUMNS))
    types = dict.fromkeys(_WHOLE, "Int64") | dict.fromkeys(_NUMBERS, "float64")
    return frame.astype(types)
