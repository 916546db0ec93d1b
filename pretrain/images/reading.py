"""Reading one image file."""

import os
import stat

MAX_BYTES = 1 << 28  # of an image file: 256 MB, beyond any photograph


def read_image(path: str) -> bytes:
    """Return the content of an image file.

    Raises ``OSError`` for what cannot be read, is no regular file (a pipe would make its reader wait for ever), or is
    larger than 256 MB.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise OSError(f"{path} is no regular file of at most {MAX_BYTES} bytes")
        with open(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)
