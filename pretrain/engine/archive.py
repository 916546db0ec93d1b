"""torch's zip archives: written whole or not at all, and not believed before their checksums have been compared.

``torch.load`` compares no checksum: a file with a flipped bit or a hole of zeros loads without a word. Every entry of
the archive (``torch.save`` since 1.6) has a CRC-32 of its bytes, of which comparing takes 0.05 s for 128 MiB.
"""

import zipfile
from pathlib import Path
from typing import Any

import torch

from benchmark.core.errors import UserError
from benchmark.core.files import write_with

PIECE = 1 << 20  # bytes read at a time


class Damaged(UserError):
    """A file does not hold what was written to it, or not what it should hold."""


def check_archive(path: str | Path, *, ours: bool = False) -> None:
    """Compare every entry of a zip archive with its CRC-32, reading a mebibyte at a time; nothing is executed.

    Args:
        path: a file that begins as a zip archive does.
        ours: whether this project wrote it. Other programs may have left checksums out (torch's
            ``set_crc32_options(False)``), which they write as 0: those entries are passed over in files of others.

    Raises:
        Damaged: an entry differs from its checksum, or the archive is cut short or otherwise no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise zipfile.BadZipFile(f"{entry.filename} is compressed, which torch never does")
                if entry.CRC == 0 and not ours:
                    continue
                with archive.open(entry) as file:
                    while file.read(PIECE):
                        pass  # zipfile compares the checksum at the end of the entry
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror or error}).") from None
    except Exception as error:  # damaged headers raise half a dozen kinds
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise Damaged(f"{path} is damaged ({reason}).") from None


def save_archive(path: str | Path, content: Any, previous: str | Path | None = None) -> None:
    """Write a torch file atomically, with checksums.

    `previous`: a name under which the file that is there is kept. Raises ``CannotWrite``, also when the folder is gone.
    """
    write_with(path, lambda file: torch.save(content, file), previous, make_folder=False)


def load_archive(path: str | Path) -> Any:
    """Read a torch file that ``save_archive`` wrote onto the CPU, after its checksums; execute nothing in it.

    Raises:
        Damaged: it is not what was written, or no file of ours.
    """
    check_archive(path, ours=True)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise Damaged(f"{path} cannot be read ({type(error).__name__}: {reason}).") from None
