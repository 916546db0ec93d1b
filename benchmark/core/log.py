"""What commands say to people while they work: one logger of our own, on standard error.

Whoever embeds the project sets ``logging.getLogger("ssl_detection")`` as they like; other libraries' loggers are left
alone. On a terminal a line is put above the progress bar, which stays whole.
"""

import contextlib
import logging
import os
import sys

from tqdm import tqdm

LOG = logging.getLogger("ssl_detection")


class _ToStandardError(logging.Handler):
    """Writes to the standard error of the moment, beside whatever progress bar is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # a reader that is gone must not end a run
            tqdm.write(self.format(record), file=sys.stderr)
            sys.stderr.flush()


if not LOG.handlers:
    LOG.addHandler(_ToStandardError())
    LOG.setLevel(logging.INFO)
    LOG.propagate = False


def say(text: str) -> None:
    """Say a line to people; of several processes that torchrun has started, the first one speaks."""
    if int(os.environ.get("RANK", 0)) == 0:
        LOG.info(text)
