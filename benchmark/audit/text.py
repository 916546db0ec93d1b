"""Reading the text files of others: regular files only, bounded, as UTF-8 with what is not replaced."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from benchmark.core.errors import UserError

MAX_CONFIG_BYTES = 4 << 20  # a Detectron2 config has about 6 kB
MAX_LINE = 1 << 20  # characters of a line that are looked at; the model of a log is printed in lines of its own

# Colours of terminals, which Detectron2 writes into its logs, and titles of windows.
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def plain(text: str) -> str:
    """Return `text` without the escape sequences that colour a terminal."""
    return _ESCAPES.sub("", text) if "\x1b" in text else text


def check_regular(path: Path) -> None:
    """Raise ``UserError`` unless `path` is a regular file: opening a pipe or a device could wait for ever."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give the path of a file that exists.") from None
    except ValueError:
        raise UserError("the path holds a zero byte, which no file's name may; give another path.") from None
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is not a regular file; give a log, a configuration file, a record or a folder.")


def read_config_text(path: Path) -> str:
    """Return the text of a configuration file. Raises ``UserError`` when it is larger than any configuration is."""
    check_regular(path)
    if (size := path.stat().st_size) > MAX_CONFIG_BYTES:
        raise UserError(f"{path} has {size:,} bytes, more than a configuration file; give the file itself.")
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None


def lines_of(path: Path) -> Iterator[str]:
    """Yield the lines of a log without colours and without the end of the line, never all of them in memory."""
    check_regular(path)
    try:
        with open(path, encoding="utf-8", errors="replace", newline=None) as file:
            while line := file.readline(MAX_LINE):
                yield plain(line.rstrip("\r\n"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or os.fspath(path)}).") from None
