"""Downloading one file over HTTP: continued where it broke off, checked before it gets its name, never half there.

Why not a library: ``torch.hub`` and ``pooch`` begin again after every broken transfer; ``huggingface_hub`` continues
only what its own hub serves. So ``requests`` does redirects, certificates and proxies, and this module the resuming: a
part is continued by ``Range`` only with ``If-Range`` and the server's own ``ETag`` or ``Last-Modified`` (RFC 9110,
13.1.5 and 14), so parts of two different files are never joined.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from benchmark.core.errors import RunFailed, UserError
from benchmark.core.files import write_json
from benchmark.core.progress import progress

ATTEMPTS = 4  # in a row that bring nothing
LONGEST_WAIT = 30.0  # seconds between two attempts
TIMEOUT = (10.0, 60.0)  # seconds to connect, and without a byte
PIECE = 1 << 16  # bytes; what a break can lose
LARGEST = 8 << 30  # bytes; checkpoints of a ResNet-50 with their heads and optimiser are below 2 GB
REDIRECTS = 10
AGAIN = (408, 425, 429, 500, 502, 503, 504)  # answers that may be another in a moment
Say = Callable[[str], None]


class _BrokenOff(Exception):
    """The transfer ended early; what came is kept, and another attempt goes on from there."""


@dataclass(frozen=True)
class _Part:
    """What is known of a file that has arrived in part: where from, its version there, its whole size in bytes."""

    url: str
    version: str | None
    total: int | None


def download(url: str, path: Path, check: Callable[[Path], None], say: Say) -> None:
    """Download `url` to `path`; an earlier part (``<path>.part``) is continued.

    Args:
        url: http or https.
        path: the file that is there afterwards, whole.
        check: called with the whole file before it gets its name; raises ``UserError`` to refuse it, and then the file
            is removed.
        say: takes what people should know, a sentence at a time.

    Raises:
        UserError: no such file at that address, a web page instead of a file, endless redirects, refused by `check`.
        RunFailed: the connection breaks again and again, or the disk is full; the part stays for the next call.
    """
    part, notes = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.json")
    with _disk(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with requests.Session() as session:
        session.max_redirects = REDIRECTS
        failures = 0
        while True:
            before = _size(part)
            try:
                _transfer(session, url, part, notes, say)
                break
            except _BrokenOff as error:
                failures = 1 if _size(part) > before else failures + 1
                if failures >= ATTEMPTS:
                    have = (
                        f"; {_size(part):,} bytes are kept, and the same command goes on from there" if before else ""
                    )
                    raise RunFailed(
                        f"{url} cannot be downloaded ({error}){have}. A machine without network finds the file when it "
                        f"is put at {path}."
                    ) from None
                wait = min(2.0**failures, LONGEST_WAIT)
                say(f"the transfer broke off after {_size(part):,} bytes ({error}); going on in {wait:g} s")
                time.sleep(wait)
    try:
        check(part)
    except UserError:
        part.unlink()
        raise
    finally:
        notes.unlink(missing_ok=True)
    with _disk(path.parent):
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)


def _transfer(session: requests.Session, url: str, part: Path, notes: Path, say: Say) -> None:
    """Bring the rest of the file, all of it or up to a break. Raises ``_BrokenOff``, and as ``download`` does."""
    known = _read_notes(notes, url) if part.is_file() else None
    have = _size(part) if known else 0
    if known and known.total is not None and have == known.total:
        return  # whole already: the process ended between the last byte and the check
    # No compression on the way: a range counts the bytes of what is sent.
    headers = {"Accept-Encoding": "identity", "User-Agent": "ssl-detection-benchmark"}
    if known and known.version and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": known.version}
    try:
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            _check_answer(answer, url)
            start, total = _place(answer, have, part)
            version = _version(answer)
            if start:
                if version not in (None, known.version) or total != known.total:
                    part.unlink()
                    raise _BrokenOff("the file has changed since its first part came, so it begins anew")
                say(f"going on after {start:,} of {total:,} bytes")
            elif have:
                changed = version is None or version != known.version
                why = "the file has changed" if changed else "the server sends whole files only"
                say(f"{why}: beginning anew")
            if not start:
                part.unlink(missing_ok=True)
                write_json(notes, asdict(_Part(url, version, total)))
            _check_room(part, total, start)
            _write(answer, part, start, total)
    except requests.TooManyRedirects:
        raise UserError(f"{url} is redirected more than {REDIRECTS} times; give the file's own address.") from None
    except (requests.exceptions.InvalidSchema, ValueError):  # among them InvalidURL and MissingSchema
        raise UserError(f"{url} leads to no http or https address; give the file's own address.") from None
    except requests.exceptions.SSLError as error:
        raise RunFailed(f"{url} has no valid certificate ({_short(error)}); the connection is not safe.") from None
    except requests.RequestException as error:
        raise _BrokenOff(_short(error)) from None
    except OSError as error:
        raise _no_room(part.parent, error) from None


def _check_answer(answer: requests.Response, url: str) -> None:
    status = answer.status_code
    if status in AGAIN:
        raise _BrokenOff(f"the server answers {status} {answer.reason}")
    if status in (200, 206, 416):
        pass
    elif status in (404, 410):
        raise UserError(f"{url} does not exist (the server answers {status}); look for its new address.")
    elif status in (401, 403):
        raise UserError(f"{url} is not open to everybody (the server answers {status}); download it by hand.")
    else:
        raise UserError(f"{url} gives no file: the server answers {status} {answer.reason}.")
    if url.startswith("https://") and not answer.url.startswith("https://"):
        raise UserError(f"{url} is redirected to an address without encryption, {answer.url}; that is refused.")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise UserError(f"{url} is sent compressed although that was not asked for; download it by hand.")
    if status == 200 and answer.headers.get("Content-Type", "").startswith("text/html"):
        raise UserError(f"{url} answers with a web page, not with a file; download the file by hand in a browser.")


def _place(answer: requests.Response, have: int, part: Path) -> tuple[int, int | None]:
    """Return where the bytes to come belong, and the file's whole size if the server says it."""
    if answer.status_code == 200:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
    if answer.status_code == 206 and match and int(match[1]) == have:
        return have, int(match[3])
    part.unlink(missing_ok=True)  # a part longer than the file, or an answer to another question
    raise _BrokenOff("the part that was there does not fit the file, so it begins anew")


def _version(answer: requests.Response) -> str | None:
    """Return what ``If-Range`` may carry: a strong ETag, otherwise the time of the last change."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified")


def _check_room(part: Path, total: int | None, start: int) -> None:
    if total is not None and total > LARGEST:
        raise UserError(f"the file has {total:,} bytes, more than any ResNet-50 checkpoint; it is not downloaded.")
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise RunFailed(
            f"{part.parent} has {free:,} bytes free, {total - start:,} are needed; make room or set SSL_ZOO to another "
            "folder."
        )


def _write(answer: requests.Response, part: Path, start: int, total: int | None) -> None:
    bar = progress(None, f"downloading {part.name.removesuffix('.part')}", "B", total=total, initial=start)
    with bar, open(part, "ab" if start else "wb") as file:
        for piece in answer.iter_content(PIECE):
            if start == 0 and piece.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
                raise UserError(f"{answer.url} answers with a web page, not with a file; download it by hand.")
            file.write(piece)
            file.flush()  # so that a kill loses nothing that has come
            start += len(piece)
            bar.update(len(piece))
            if start > (LARGEST if total is None else total):
                raise UserError(f"{answer.url} sends more bytes than it announced or than any checkpoint has.")
    if total is not None and start < total:
        raise _BrokenOff(f"{total - start:,} bytes are missing")


def _read_notes(notes: Path, url: str) -> _Part | None:
    """Return what the earlier attempt noted about its part; None where that is missing, damaged or of another URL."""
    try:
        found = _Part(**json.loads(notes.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.url == url else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _short(error: Exception) -> str:
    """Return the innermost reason of a library's error in few words."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    reason = getattr(error, "reason", None)
    text = " ".join(str(reason if isinstance(reason, Exception) else error).split())
    if "IncompleteRead" in text:
        return "the connection was closed before the end"
    return re.sub(r"^.*?(?:object at 0x[0-9a-f]+>|HTTPS?Connection\(.*?\)): ", "", text)[:160] or type(error).__name__


class _disk:
    """Turn an error of the disk into a sentence."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, OSError):
            raise _no_room(self.folder, error) from None


def _no_room(folder: Path, error: OSError) -> RunFailed:
    return RunFailed(
        f"{folder} cannot be written ({error.strerror or error}); make room or set SSL_ZOO to another folder; the same "
        "command goes on from what has come."
    )
