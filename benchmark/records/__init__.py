"""Records of runs: the one schema, reading them, and all of them as a DataFrame.

Others use ``RunRecord`` (``RunRecord.read`` for one file), ``read_records``, ``scan_records`` and ``read_frame``.
"""

from typing import Any

from benchmark.records.reading import read_records, scan_records
from benchmark.records.record import RECORDS, RunRecord

__all__ = ["RECORDS", "RunRecord", "read_frame", "read_records", "scan_records"]


def __getattr__(name: str) -> Any:
    """Import pandas only for who asks for a frame: every command imports this package, also for ``--help``."""
    if name == "read_frame":
        from benchmark.records.frame import read_frame

        return read_frame
    raise AttributeError(name)
