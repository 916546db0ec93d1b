"""How far something is and how long it will take, the same everywhere.

On a terminal a bar (tqdm). In a log file or a pipe a line now and then, the way of Detectron2's
``CommonMetricPrinter``: a bar would be one endless line there.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Any, Protocol

from tqdm import tqdm

from benchmark.core.log import LOG

FIRST, EVERY, SHARE = 1.0, 15.0, 0.02  # seconds to the first line and between lines, or a share of the time so far
# What matters most comes first, so that a narrow terminal cuts off the bar and the title, not loss and time left.
LAYOUT = "{percentage:3.0f}% {n_fmt}/{total_fmt} {remaining} left{postfix} {rate_fmt} |{bar}| {desc}"


class Progress(Protocol):
    """What ``progress`` returns, bar or lines: an iterable over the items, and a context that closes it."""

    def __iter__(self) -> Iterator[Any]: ...
    def __enter__(self) -> "Progress": ...
    def __exit__(self, *error: object) -> Any: ...
    def update(self, n: int = 1) -> Any:
        """Count `n` more items as done."""

    def set_postfix(self, values: dict[str, str], refresh: bool = False) -> Any:
        """Show these values from now on."""

    def close(self) -> Any:
        """End the bar, or write the last line."""


def progress(
    items: Iterable[Any] | None,
    what: str,
    unit: str,
    *,
    total: int | None = None,
    initial: int = 0,
    delay: float = FIRST,
    leave: bool = False,
    disable: bool = False,
) -> Progress:
    """Return the progress over `items`, or one to be moved by ``update`` when None, on standard error.

    Args:
        items: what to go through.  what: title.  unit: of an item; ``B`` is written as kB, MB, GB.
        total: number of items; default ``len(items)``, if it has one.  initial: items done in an earlier part.
        delay: seconds before anything is shown, so that what is quick stays silent.
        leave: whether the bar stays on the terminal, and the last line is written, when all is done.
        disable: show nothing.
    """
    if total is None and items is not None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    settings: dict[str, Any] = {"total": total, "initial": initial, "delay": delay, "leave": leave, "disable": disable}
    if disable or sys.stderr.isatty():
        scale = {"unit_scale": True, "unit_divisor": 1000} if unit == "B" else {}
        layout = {} if total is None else {"bar_format": LAYOUT}
        return tqdm(items, desc=what, unit=unit, dynamic_ncols=True, **settings, **scale, **layout)
    return Lines(items, what, unit, total, initial, delay, leave)


class Lines:
    """Progress as lines of text: the first after `delay` seconds, then every 15 s, more rarely in a long run."""

    def __init__(
        self,
        items: Iterable[Any] | None,
        what: str,
        unit: str,
        total: int | None,
        initial: int,
        delay: float,
        leave: bool,
    ):
        self._items, self._what, self._unit, self._leave = items, what, unit, leave
        self.total, self.n, self._initial = total, initial, initial
        self._values: dict[str, str] = {}
        self._begun = time.monotonic()
        self._next, self._written = self._begun + delay, initial

    def __iter__(self) -> Iterator[Any]:
        with self:
            for item in self._items or ():
                yield item
                self.update()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def set_postfix(self, values: dict[str, str], refresh: bool = False) -> None:
        """Show these values from now on."""
        self._values = values

    def update(self, n: int = 1) -> None:
        """Count `n` more items as done; write a line when it is time for one."""
        self.n += n
        now = time.monotonic()
        if now >= self._next:
            self._next = now + max(EVERY, SHARE * (now - self._begun))
            self._write(now)

    def close(self) -> None:
        """Write the last line, if one is wanted and is still missing."""
        if self._leave and self.n > self._written:
            self._write(time.monotonic())
        self._leave = False

    def _write(self, now: float) -> None:
        self._written = self.n
        count = f"{self._count(self.n)}/{self._count(self.total)}" if self.total else self._count(self.n)
        parts = [
            f"{self._what}: {self._unit_word()}{count}",
            *(f"{name} {value}" for name, value in self._values.items()),
        ]
        seconds = now - self._begun
        if self.total and self.n > self._initial:
            left = seconds / (self.n - self._initial) * (self.total - self.n)
            parts.append(f"{timedelta(seconds=round(left))} left")
        LOG.info(", ".join(parts))

    def _unit_word(self) -> str:
        return {"it": "iteration ", "B": ""}.get(self._unit, f"{self._unit} ")

    def _count(self, number: int) -> str:
        return tqdm.format_sizeof(number, "B", 1000) if self._unit == "B" else str(number)
