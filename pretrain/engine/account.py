"""What a run has come to know of itself, earlier parts included: for its record, however the run ends."""

import time
from typing import Any


class Account:
    """Wall time and findings of a run.

    Attributes:
        details: what the record's ``details`` will hold; the work adds to it as it goes.
        seconds_before: wall time of earlier parts of the run, in seconds; set when a checkpoint is read.
    """

    def __init__(self) -> None:
        self.details: dict[str, Any] = {}
        self.seconds_before = 0.0
        self.complete_before = False
        self._begun = time.monotonic()

    def nothing_to_do(self) -> None:
        """Note that the run was complete before this start: a record that is there stays as it is."""
        self.complete_before = True

    @property
    def seconds(self) -> float:
        """Wall time of the run so far, all parts together, in seconds."""
        return self.seconds_before + (0.0 if self.complete_before else time.monotonic() - self._begun)
