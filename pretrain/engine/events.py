"""TensorBoard's event file, written at once.

TensorBoard's own writer works in a thread of its own, whose failure (a full disk, a folder that is gone) is a traceback
on the screen and nothing in the program. This one writes the same records, each in one go.
"""

import os
import platform
import time
from pathlib import Path
from typing import IO

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from benchmark.core.files import writing


class EventFile:
    """An event file in a folder. Raises ``CannotWrite``.

    Args:
        folder: of the event files; made if needed.  first_step: what older files say of this and later steps is void.
    """

    def __init__(self, folder: Path, first_step: int):
        self.folder = folder
        name = f"events.out.tfevents.{time.time_ns()}.{platform.node()}.{os.getpid()}"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = open(folder / name, "wb")  # noqa: SIM115 - open for as long as the run lasts
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, values: dict[str, float]) -> None:
        """Write the values of a step."""
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._write(Event(step=step, summary=summary))

    def close(self) -> None:
        """Close the file."""
        with writing(self.folder):
            self._file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with writing(self.folder):
            self._records.write(event.SerializeToString())
            self._file.flush()
