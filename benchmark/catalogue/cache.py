"""The cache of downloaded checkpoints: its folder, and the lock file that pins every file's hash.

``SSL_ZOO`` moves the folder. ``zoo.lock.json`` in it says for every word of ``--weights`` which file came, and its
hash; a file that is later another one is refused.
"""

import hashlib
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.catalogue.entries import Entry
from benchmark.core.errors import RunFailed, UserError
from benchmark.core.files import write_text

VARIABLE = "SSL_ZOO"
LOCK = "zoo.lock.json"


def cache_folder() -> Path:
    """Return the folder of downloaded checkpoints: ``$SSL_ZOO``, otherwise one in the platform's cache folder."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given).expanduser().absolute()
    return Path(platformdirs.user_cache_dir("ssl-detection-benchmark", appauthor=False)) / "zoo"


def path_of(entry: Entry) -> Path:
    """Return where an entry's file is, or would be, in the cache; names repeat, so each entry has its folder."""
    return cache_folder() / entry.name / (entry.file or entry.name)


@dataclass(frozen=True)
class Hashes:
    """SHA-256 and MD5 of a file in hexadecimal digits (the MD5 because some projects publish that), and its bytes."""

    sha256: str
    md5: str
    size: int


def hashes_of(path: str | Path) -> Hashes:
    """Return a file's hashes, read once in pieces of 1 MiB."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            sha256.update(piece)
            md5.update(piece)
            size += len(piece)
    return Hashes(sha256.hexdigest(), md5.hexdigest(), size)


class Pin(BaseModel):
    """What came when a word was first used: the file (relative to the cache), its hash and size, and how it was known.

    ``verified`` says whether the hash was compared with a published one; otherwise the first download set it.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    file: Annotated[str, Field(pattern=r"^[^/\\].*$")]
    url: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    verified: bool
    licence: str | None
    date: str

    @property
    def path(self) -> Path:
        """The file itself."""
        return cache_folder() / self.file


class _LockFile(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    version: Literal[1] = 1
    pins: dict[str, Pin] = {}


def read_pins() -> dict[str, Pin]:
    """Return the pins by word (``zoo:moco_v2_800ep``); empty without a lock file. Raises ``UserError`` if damaged."""
    path = cache_folder() / LOCK
    try:
        return _LockFile.model_validate_json(path.read_bytes()).pins
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path} is damaged ({where}: {first['msg']}); mend it, or remove it to pin anew.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); mend its permissions.") from None


def pin(word: str, path: Path, url: str, hashes: Hashes, *, verified: bool, licence: str | None) -> Pin:
    """Write down which file a word gave; safe with several processes at once. Returns the pin."""
    folder = cache_folder()
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    made = Pin(
        file=path.relative_to(folder).as_posix(), url=url, sha256=hashes.sha256, size=hashes.size, verified=verified,
        licence=licence, date=now,
    )  # fmt: skip
    try:
        with FileLock(str(folder / (LOCK + ".lock"))):
            content = _LockFile(pins={**read_pins(), word: made})
            write_text(folder / LOCK, content.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise RunFailed(f"{folder / LOCK} cannot be written ({error.strerror}); make room or set {VARIABLE}.") from None
    return made


def word_of(sha256: str) -> str | None:
    """Return the word whose pinned file has this hash, a name in the zoo first; None where there is none."""
    words = [word for word, pinned in read_pins().items() if pinned.sha256 == sha256]
    return min(words, key=lambda word: not word.startswith("zoo:"), default=None)
