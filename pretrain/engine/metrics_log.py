"""The log of a training run: ``metrics.json`` (one JSON object a line) and TensorBoard events, the same everywhere."""

import json
import math
from pathlib import Path

from benchmark.core.files import write_text, writing
from benchmark.core.folder import METRICS_FILE
from pretrain.engine.events import EventFile

EVENTS = "tensorboard"


class MetricsLog:
    """Appends metrics to ``metrics.json`` and ``tensorboard/`` in a folder.

    Lines after the iteration that a resumed run begins with belong to steps that were lost; they are removed.

    Raises ``CannotWrite`` when the disk is full or the folder is gone.

    Args:
        folder: of the run.  start_iteration: completed iterations, 0 for a new run.
    """

    def __init__(self, folder: Path, start_iteration: int):
        self.path = folder / METRICS_FILE
        kept = lines_until(self.path, start_iteration)
        write_text(self.path, "".join(line + "\n" for line in kept))
        self.latest: dict[str, float] = json.loads(kept[-1]) if kept else {}
        self._events = EventFile(folder / EVENTS, start_iteration + 1)

    def write(self, iteration: int, values: dict[str, float]) -> None:
        """Log the values of a completed iteration (counted from 1); what is not finite is left out of the JSON."""
        self.latest = {"iteration": iteration, **values}
        finite = {key: value for key, value in self.latest.items() if math.isfinite(value)}
        with writing(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(finite) + "\n")
        self._events.add(iteration, values)

    def close(self) -> None:
        """Flush and close the event file."""
        self._events.close()


def lines_until(path: Path, iteration: int) -> list[str]:
    """Return the lines of a metrics file up to an iteration, none when there is no file; cut lines are left out."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return [line for line in lines if _iteration_of(line) <= iteration]


def _iteration_of(line: str) -> float:
    """Return the iteration of a line; a line cut short by a kill counts as infinitely late."""
    try:
        return json.loads(line)["iteration"]
    except (ValueError, KeyError, TypeError):
        return math.inf
