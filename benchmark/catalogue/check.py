"""Verifying what is in the cache against published and pinned hashes."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.catalogue import cache
from benchmark.catalogue.entries import Entry
from benchmark.catalogue.listing import WIDTH
from benchmark.catalogue.obtain import ZOO


@dataclass(frozen=True)
class Checked:
    """What --check found of one file: ``right``, ``wrong``, ``not pinned`` or ``missing``, and why."""

    word: str
    file: str
    state: str
    reason: str


def check_cache(entries: Sequence[Entry]) -> list[Checked]:
    """Compare the entries' files and all that is pinned with published and pinned hashes; reads every byte."""
    pins, results = cache.read_pins(), []
    names = {f"{ZOO}{entry.name}": entry for entry in entries}
    words = {word: cache.path_of(entry) for word, entry in names.items() if cache.path_of(entry).is_file()}
    words |= {word: pin.path for word, pin in pins.items() if word in names or not word.startswith(ZOO)}
    for word, path in sorted(words.items()):
        results.append(Checked(word, str(path), *_state(path, pins.get(word), names.get(word))))
    return results


def _state(path: Path, pin: cache.Pin | None, entry: Entry | None) -> tuple[str, str]:
    if not path.is_file():
        return "missing", "it was here once and is downloaded again when it is needed"
    hashes = cache.hashes_of(path)
    published = entry and (entry.sha256 or entry.md5)
    if published:
        own = hashes.sha256 if entry.sha256 else hashes.md5
        if not own.startswith(published):
            return "wrong", f"its hash is {own[: len(published)]}..., published is {published}; remove it"
    if pin and pin.sha256 != hashes.sha256:
        return "wrong", f"its SHA-256 is {hashes.sha256[:16]}..., pinned is {pin.sha256[:16]}...; remove it"
    if published:
        return "right", f"published hash {published}"
    if pin:
        return "right", f"hash pinned on {pin.date[:10]}; none is published"
    return "not pinned", f"no hash is published for it; SHA-256 {hashes.sha256[:16]}..."


def checked_text(results: Sequence[Checked]) -> str:
    """Return a file a paragraph, its state first."""
    if not results:
        return f"Nothing is cached in\n{cache.cache_folder()}."
    lines = []
    for result in results:
        lines += textwrap.wrap(
            f"{result.word}: {result.reason}", WIDTH, initial_indent=f"{result.state:<11}", break_long_words=False,
            subsequent_indent=" " * 11, break_on_hyphens=False,
        )  # fmt: skip
    return "\n".join([*lines, "", f"{len(results)} files in {cache.cache_folder()}"])
