"""Progress bars with time left, the same everywhere: lively on a terminal, a line now and then in a log file."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(items: Iterable[Any] | None, what: str, unit: str, **options: Any) -> "tqdm[Any]":
    """Return tqdm over `items` (or a manual bar when None) on standard error, titled `what`.

    On a terminal it updates ten times a second and vanishes when `leave` is False; in a log file it prints at most
    one line in 15 seconds.
    """
    interactive = sys.stderr.isatty()
    settings = {"mininterval": 0.1 if interactive else 15.0, "maxinterval": 10.0 if interactive else 60.0}
    settings |= {"dynamic_ncols": interactive, "leave": False, "delay": 1.0}
    return tqdm(items, desc=what, unit=unit, **(settings | options))
