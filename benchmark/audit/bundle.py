"""One ZIP file that another person can check and score again: records, configs, logs, detections, with checksums.

Paths of the machine and names of users are taken out of every text. The bundle is read as strictly as any file of
others: names that leave the folder, sizes that explode and bytes that differ from their checksum are findings.
"""

import contextlib
import getpass
import hashlib
import json
import re
import socket
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmark.audit.submission import PLACEHOLDER, Finding
from benchmark.core.errors import UserError
from benchmark.core.files import write_with

MANIFEST = "MANIFEST.json"
VERSION = 1
# What a reader needs of a run; never checkpoints, which are large and can be hashed.
KEPT = (
    *("run.json", "config.yaml", "detectron2.yaml", "log.txt", "metrics.json", "results.json", "predictions.json"),
    "description.txt",
)
MAX_BYTES, MAX_FILES = 4 << 30, 20_000
_ABSOLUTE = re.compile(r"(?<![\w.:/<>-])(?:/[\w.@+~-]+){2,}|\b[A-Za-z]:\\\\?(?:[\w.@+~ -]+\\\\?)+")


def anonymous(text: str) -> str:
    """Return a text without absolute paths (the last part of each stays), user name and name of the machine."""
    text = _ABSOLUTE.sub(lambda found: f"{PLACEHOLDER}/{_last_part(found.group(0))}", text)
    for private in _private_words():
        text = re.sub(rf"(?<![\w-]){re.escape(private)}(?![\w-])", "<user>", text)
    return text


def _last_part(path: str) -> str:
    return re.split(r"[/\\]+", path.rstrip("/\\"))[-1]


def _private_words() -> list[str]:
    words = []
    with contextlib.suppress(OSError, KeyError, ImportError):  # a container may have no name of a user
        words.append(getpass.getuser())
    with contextlib.suppress(OSError):
        words.append(socket.gethostname())
    return [word for word in words if len(word) > 3 and word not in ("root", "user", "localhost")]


def write_bundle(path: Path, sources: Sequence[Path], runs: str | None) -> Path:
    """Write the bundle of records (files, folders) and of the run folders below `runs`; return its path.

    Raises:
        UserError: the bundle cannot be written, or there is nothing to put into it.
    """
    files = dict(_chosen(sources, Path(runs) if runs else None))
    if not any(name.startswith("records/") for name in files):
        raise UserError("there is no record to put into a bundle; name a folder of records.")
    manifest = {"version": VERSION, "files": {}}
    try:
        with contextlib.ExitStack() as stack:
            spool = stack.enter_context(tempfile.TemporaryFile())
            with zipfile.ZipFile(spool, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, source in sorted(files.items()):
                    content = anonymous(source.read_text(encoding="utf-8", errors="replace")).encode()
                    manifest["files"][name] = hashlib.sha256(content).hexdigest()
                    archive.writestr(_entry(name), content)
                archive.writestr(_entry(MANIFEST), json.dumps(manifest, indent=1, sort_keys=True))
            spool.seek(0)
            write_with(path, lambda file: file.write(spool.read()))
    except OSError as error:
        raise UserError(f"the bundle {path} cannot be written ({error.strerror}); give another place.") from None
    return path


def _entry(name: str) -> zipfile.ZipInfo:
    """Return an entry without the time of writing: equal content gives an equal bundle."""
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _chosen(sources: Sequence[Path], runs: Path | None) -> Iterator[tuple[str, Path]]:
    for source in sources:
        records = sorted(source.glob("*.json")) if source.is_dir() else [source]
        for record in records:
            if record.suffix == ".json" and record.is_file():
                yield f"records/{record.name}", record
    for folder in sorted(runs.iterdir()) if runs and runs.is_dir() else []:
        for name in KEPT:
            if (folder / name).is_file():
                yield f"runs/{folder.name}/{name}", folder / name


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[list[Path], Path | None, list[Finding]]]:
    """Yield the records at a path, the folder of runs beside them, and findings of a bundle.

    Raises:
        UserError: the path is not there, or is a damaged ZIP file.
    """
    if path.suffix.lower() == ".zip":
        with tempfile.TemporaryDirectory() as folder:
            findings = _unpack(path, Path(folder))
            yield sorted(Path(folder, "records").glob("*.json")), Path(folder, "runs"), findings
        return
    if not path.exists():
        raise UserError(f"there is no {path}; give a record, a folder of records or a bundle.")
    yield (sorted(p for p in path.glob("*.json") if not p.name.startswith(".")) if path.is_dir() else [path]), None, []


def _unpack(path: Path, folder: Path) -> list[Finding]:
    """Unpack a bundle after checking names and sizes; return what does not agree with its manifest."""
    findings = []
    (folder / "runs").mkdir()
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise UserError(f"{path} unpacks to more than a bundle holds; it is not read.")
            manifest = json.loads(archive.read(MANIFEST))
            wanted = dict(manifest["files"])
            for entry in entries:
                if entry.filename == MANIFEST:
                    continue
                target = (folder / entry.filename).resolve()
                if not target.is_relative_to(folder.resolve()) or entry.is_dir():
                    raise UserError(f"{path} holds the name {entry.filename[:80]!r}, which leaves the bundle.")
                content = archive.read(entry)
                if hashlib.sha256(content).hexdigest() != wanted.pop(entry.filename, None):
                    findings.append(Finding(path.name, f"{entry.filename} is not the file that the manifest lists"))
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            findings += [Finding(path.name, f"{name} is listed and missing") for name in sorted(wanted)]
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError, EOFError, NotImplementedError) as error:
        raise UserError(f"{path} cannot be read as a bundle ({type(error).__name__}); it is damaged.") from None
    return findings
