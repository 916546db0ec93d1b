"""One display over all runs of a suite: what started and ended, and how much time is left."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.core.strict_yaml import shorten
from benchmark.runner.planned import PlannedRun

if TYPE_CHECKING:
    from benchmark.runner.local import Job

SECONDS_BETWEEN_LINES = 60.0  # in a log file
TAIL = 4096  # bytes of a run's log that are looked at for its last line


class Display:
    """Lines for what starts and ends; with several runs at a time also one line that is kept up to date.

    Args:
        runs: all runs that will be started, in order.
        hours: GPU hours of each by name, None where nobody knows: the time left follows the pace of this machine, in
            proportion to these or, where they are not known of all runs of a kind, to the epochs.
        places: how many runs go on at a time.
    """

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        hours: Mapping[str, float | None],
        places: int = 1,
        write: Callable[[str], object] | None = None,
    ):
        self.runs, self.hours, self.places = list(runs), hours, places
        self._guessed = {run.kind for run in self.runs if not self.hours.get(run.name)}  # kinds without all hours
        self.began = time.monotonic()
        self.timed: list[tuple[PlannedRun, float]] = []
        self.over: set[str] = set()
        self._write = write or self._print
        self._live = sys.stdout.isatty() and places > 1
        self._last, self._shown = time.monotonic(), False

    def started(self, run: PlannedRun, resumed: bool) -> None:
        """Say that a run starts, with its place in the suite and the time left."""
        minutes = (time.monotonic() - self.began) / 60
        more = ", continues" if resumed else ""
        number = self.runs.index(run) + 1
        self._line(f"\n[{number}/{len(self.runs)}, {minutes:.1f} min{self.time_left()}{more}] {run.command}")

    def ended(self, run: PlannedRun, seconds: float, resumed: bool) -> None:
        """Note that a run is done; what only resumed says nothing about the length of a whole run."""
        self.over.add(run.name)
        if not resumed:
            self.timed.append((run, seconds))
        if self.places > 1:
            self._line(f"done: {run.name} ({seconds / 60:.1f} min)")

    def failed(self, run: PlannedRun, reason: str) -> None:
        """Say that a run failed."""
        self.over.add(run.name)
        self._line(f"failed: {run.name}: {shorten(reason, 300)}")

    def stopped(self, run: PlannedRun) -> None:
        """Say that a run stopped as it was asked to."""
        self._line(f"stopped: {run.name}; the same command continues")

    def left_out(self, run: PlannedRun, reason: str) -> None:
        """Say why a run was not started."""
        self.over.add(run.name)
        self._line(f"not started: {run.name}: {reason}")

    def update(self, going: "Sequence[Job]") -> None:
        """Show what goes on: at once on a terminal, once a minute in a log file."""
        if self.places == 1 or not going:
            return
        now = time.monotonic()
        if now - self._last < (1.0 if self._live else SECONDS_BETWEEN_LINES):
            return
        self._last = now
        names = "; ".join(f"{job.run.name}: {last_line(job.log)}" for job in going)
        text = f"{len(self.over)} of {len(self.runs)} over, {len(going)} running{self.time_left()}: {names}"
        if self._live:
            sys.stdout.write(f"\r\x1b[2K{text[:200]}")
            sys.stdout.flush()
            self._shown = True
        else:
            self._line(text)

    def time_left(self) -> str:
        """Return ``, about 12 min left`` at the pace of the runs of the same kind that are done, or nothing."""
        seconds = 0.0
        for run in self.runs:
            if run.name in self.over:
                continue
            alike = [(other, took) for other, took in self.timed if other.kind == run.kind]
            if not alike:
                return ""
            length = self._length(run)
            seconds += sum(took for _, took in alike) / sum(self._length(other) for other, _ in alike) * length
        seconds /= self.places
        return f", about {seconds / 60:.0f} min left" if seconds >= 60 else ", less than a minute left"

    def _length(self, run: PlannedRun) -> float:
        """Return how long a run is in relation to others of its kind."""
        if run.kind not in self._guessed:
            return self.hours[run.name] or 0.0
        epochs = run.options.get("epochs")
        return float(epochs) if isinstance(epochs, (int, float)) and run.kind == "pretrain" else 1.0

    def _line(self, text: str) -> None:
        if self._shown:
            sys.stdout.write("\r\x1b[2K")
            self._shown = False
        self._write(text)

    @staticmethod
    def _print(text: str) -> None:
        print(text, flush=True)


def last_line(log: Path | None) -> str:
    """Return the last line that a run has written, as printable text; bars overwrite their line with returns."""
    if log is None:
        return ""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    return shorten(lines[-1], 100) if lines else ""
