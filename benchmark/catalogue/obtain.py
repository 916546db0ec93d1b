"""From a word of --weights that names a published file to that file, on this machine, verified.

``zoo:NAME``, ``hf:REPO[@REVISION][/FILE]``, ``https://...`` and ``torchvision:IMAGENET1K_V2`` all go one way: what was
downloaded before is compared with its pin; otherwise one process downloads, the others wait; the hash is compared with
the published one, or pinned, which is said. Nothing is mirrored, nothing is executed, nothing is converted here.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout

from benchmark.catalogue import cache
from benchmark.catalogue.cache import Hashes, hashes_of
from benchmark.catalogue.download import Say, download
from benchmark.catalogue.entries import ACCESS, Entry, page_host, read_zoo
from benchmark.catalogue.hub import on_the_hub
from benchmark.catalogue.lookup import by_hash, by_name
from benchmark.catalogue.unpack import checkpoint_in
from benchmark.core import log
from benchmark.core.errors import RunFailed, UserError, nearest

ZOO, HUB, TORCHVISION = "zoo:", "hf:", "torchvision:"
WEB = ("https://", "http://")
TORCHVISION_NAMES = {
    "IMAGENET1K_V1": "supervised_torchvision_v1",
    "IMAGENET1K_V2": "supervised_torchvision_v2",
    "DEFAULT": "supervised_torchvision_v2",
}


@dataclass(frozen=True)
class Obtained:
    """A published file that is here.

    Attributes:
        word: as given to --weights.
        path: the checkpoint; for an archive, the one file taken out of it.
        sha256: of the downloaded file, 64 hexadecimal digits.
        entry: of the catalogue, where the word or the hash names one.
        licence: as the source states it; None where it does not.
    """

    word: str
    path: Path
    sha256: str
    entry: Entry | None
    licence: str | None


def names_a_published_file(word: str) -> bool:
    """Say whether a word of --weights names a published file (and no file of this machine, no initialisation)."""
    if word.startswith((ZOO, HUB, *WEB)):
        return True
    return word.startswith(TORCHVISION) and not re.search(r"[./\\]", word) and not _local(word)


def _local(word: str) -> bool:
    return Path(word.removeprefix(TORCHVISION)).exists()


def obtain(word: str, say: Say = log.say) -> Obtained:
    """Return the file that a word names, downloading it if it is not here yet.

    Args:
        word: see ``names_a_published_file``.
        say: takes what people should know, a sentence at a time: licence, progress, what was verified or pinned.

    Raises:
        UserError: an unknown name, a file that must be downloaded by hand (with the path where it belongs), no such
            file, a wrong hash, an archive of several files.
        RunFailed: the connection or the disk fails; the same command goes on from there.
    """
    if word.startswith(HUB):
        return _from_hub(word, say)
    if word.startswith(WEB):
        return _from_web(word, say)
    if word.startswith(TORCHVISION):
        name = word.removeprefix(TORCHVISION)
        if name not in TORCHVISION_NAMES:
            raise UserError(
                f"torchvision has no ResNet-50 weights {name!r}{nearest(name, TORCHVISION_NAMES)} It has "
                f"{', '.join(TORCHVISION_NAMES)}; a file is given as torchvision:FILE."
            )
        return _from_zoo(word, by_name(TORCHVISION_NAMES[name]), say)
    return _from_zoo(word, by_name(word.removeprefix(ZOO)), say)


def _from_zoo(word: str, entry: Entry, say: Say) -> Obtained:
    if entry.access in ("other", "none"):
        raise UserError(f"{entry.name} is {ACCESS[entry.access]}: {entry.note or entry.source} Source: {entry.source}.")
    path, url = cache.path_of(entry), str(entry.url)

    def bring() -> None:
        if entry.access == "direct":
            say(f"downloading {entry.name} to {path} from {url}")
            download(url, path, lambda part: _check_published(entry, hashes_of(part), part), say)
        elif not path.is_file():
            raise _by_hand(url, path, f", {entry.inside} in that folder," if entry.inside else "")

    hashes = _once(
        f"{ZOO}{entry.name}", path, url, bring, lambda h: _check_published(entry, h, path), entry.licence, say
    )
    say(licence_text(entry.licence, entry.source))
    return Obtained(word, checkpoint_in(path), hashes.sha256, entry, entry.licence)


def _from_web(word: str, say: Say) -> Obtained:
    parts = urlsplit(word)
    if not parts.hostname or not parts.path.strip("/"):
        raise UserError(f"--weights {word} is no address of a file; write https://HOST/PATH.")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        say(f"note: {word} is not encrypted, so others could change it on the way")
    name = re.sub(r"[^\w.=-]", "_", unquote(parts.path.rsplit("/", 1)[-1]))[:120] or "checkpoint"
    path = cache.cache_folder() / "web" / hashlib.sha256(word.encode()).hexdigest()[:16] / name.lstrip(".")

    def bring() -> None:
        if page_host(word):
            if not path.is_file():
                raise _by_hand(word, path, "")
        else:
            say(f"downloading to {path}")
            download(word, path, lambda part: None, say)

    hashes = _once(word, path, word, bring, lambda _: False, None, say)
    return _known_or_not(word, path, hashes, None, say)


def _from_hub(word: str, say: Say) -> Obtained:
    found = cache.read_pins().get(word)
    if found and found.path.is_file():  # without asking the hub, which may be out of reach
        hashes = _once(word, found.path, found.url, lambda: None, lambda _: found.verified, found.licence, say)
        return _known_or_not(word, found.path, hashes, found.licence, say)
    file = on_the_hub(word, cache.cache_folder() / "huggingface")

    def check(hashes: Hashes) -> bool:
        if file.sha256 and hashes.sha256 != file.sha256:
            raise UserError(
                f"{file.path} has SHA-256 {hashes.sha256}, the hub says {file.sha256}; remove it, start again."
            )
        return file.sha256 is not None

    hashes = _once(word, file.path, file.url, lambda: None, check, file.licence, say)
    return _known_or_not(word, file.path, hashes, file.licence, say)


def _known_or_not(word: str, path: Path, hashes: Hashes, licence: str | None, say: Say) -> Obtained:
    entry = by_hash(hashes.sha256, hashes.md5)
    licence = entry.licence if entry else licence
    say(licence_text(licence, entry.source if entry else word))
    return Obtained(word, checkpoint_in(path), hashes.sha256, entry, licence)


def _once(
    word: str,
    path: Path,
    url: str,
    bring: Callable[[], None],
    check: Callable[[Hashes], bool],
    licence: str | None,
    say: Say,
) -> Hashes:
    """Have the file of a word here once, whatever the number of processes, and verify it; return its hashes.

    Args:
        bring: called by one process at a time when the file is missing.
        check: compares with a published hash; True where there is one and it agrees, ``UserError`` where it does not.
    """
    with _one_at_a_time(word, path, say):
        if not path.is_file():
            bring()
        hashes, pinned = hashes_of(path), cache.read_pins().get(word)
        if pinned and pinned.sha256 != hashes.sha256:
            raise UserError(
                f"{path} has SHA-256 {hashes.sha256[:16]}..., but {pinned.sha256[:16]}... was pinned on "
                f"{pinned.date[:10]}: it is damaged or another file; remove it to download it again, or remove its pin "
                f"from {cache.cache_folder() / cache.LOCK} if the new file is right."
            )
        verified = check(hashes)
        if not pinned:
            cache.pin(word, path, url, hashes, verified=verified, licence=licence)
            if not verified:
                say(f"no hash is published for it: SHA-256 {hashes.sha256} is pinned in {cache.LOCK} from now on")
        if verified:
            say(f"{path.name} has the published hash")
        elif pinned:
            say(f"{path.name} has the pinned hash {hashes.sha256[:16]}...")
    return hashes


@contextlib.contextmanager
def _one_at_a_time(word: str, path: Path, say: Say) -> Iterator[None]:
    """Let one process on this machine (or on a shared disk) work on a word's file; a killed one frees it."""
    locks = cache.cache_folder() / ".locks"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        locks.mkdir(exist_ok=True)
        lock = FileLock(str(locks / hashlib.sha256(word.encode()).hexdigest()[:16]))
        try:
            lock.acquire(timeout=1)
        except Timeout:
            say(f"another process is downloading {path.name}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise RunFailed(
            f"{path.parent} cannot be written ({error.strerror or error}); set {cache.VARIABLE} to another folder."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _check_published(entry: Entry, hashes: Hashes, path: Path) -> bool:
    """Compare with the published hash: True if it agrees, False if none is published."""
    for kind, published, own in (("SHA-256", entry.sha256, hashes.sha256), ("MD5", entry.md5, hashes.md5)):
        if published and not own.startswith(published):
            raise UserError(
                f"the file of {entry.name} has {kind} {own[: len(published)]}..., published is {published}: it was "
                f"damaged on its way or changed at {entry.url}; nothing is kept of it, so try again or ask its authors."
                if path.name.endswith(".part")
                else f"{path} has {kind} {own[: len(published)]}..., published is {published}: it is not the file of "
                f"{entry.name}; remove it and run the same command again."
            )
    return bool(entry.sha256 or entry.md5)


def _by_hand(url: str, path: Path, where: str) -> UserError:
    host = page_host(url) or "that page"
    return UserError(
        f"download {url}{where} by hand to {path} ({host} gives files to browsers only), then run the same command "
        "again."
    )


def licence_text(licence: str | None, source: str) -> str:
    """Return the line about a file's licence."""
    return f"licence: {licence or 'not stated; ask the authors before you pass it on'} ({source})"


def identify(path: str | Path, hashes: Hashes | None = None) -> Entry | None:
    """Return the catalogue's entry of a file, whatever its name and layout: by a published hash, or by a pinned one."""
    hashes = hashes or hashes_of(path)
    entry = by_hash(hashes.sha256, hashes.md5)
    if entry is not None:
        return entry
    word = cache.word_of(hashes.sha256)
    if word is None or not word.startswith(ZOO):
        return None
    return next((known for known in read_zoo() if known.name == word.removeprefix(ZOO)), None)
