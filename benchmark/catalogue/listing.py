"""The catalogue as text of at most 80 columns, and as plain values."""

import textwrap
from collections.abc import Sequence
from typing import Any

from benchmark.catalogue import cache
from benchmark.catalogue.entries import ACCESS, Entry

WIDTH = 80
PROG = "python benchmark/zoo.py"
SHORT = {"direct": "by name", "hand": "by hand", "other": "-", "none": "-"}


def listing(entries: Sequence[Entry]) -> str:
    """Return a line an entry, at most 80 columns wide, with a heading and what the columns mean."""
    if not entries:
        return "No entry fits all of these; leave one out."
    width = max(len(entry.name) for entry in entries)
    lines = [f"{'NAME':<{width}}  EPOCHS  HASH    FILE     LICENCE"]
    for entry in entries:
        how = "cached" if cache.path_of(entry).is_file() else SHORT[entry.access]
        hashed = "sha256" if entry.sha256 else "md5" if entry.md5 else "-"
        start = f"{entry.name:<{width}}  {entry.epochs or '?':>6}  {hashed:<6}  {how:<7}  "
        lines.append(start + _shortened(entry.licence or "not stated", WIDTH - len(start)))
    lines.append("")
    lines += textwrap.wrap(
        f"{len(entries)} checkpoints. FILE is how it comes: by name (--weights zoo:NAME downloads it), by hand (its "
        "page wants a browser), cached (it is here already), - (nothing that can be fine-tuned). A question mark: its "
        f"source does not state the epochs. All that is known of one: {PROG} NAME",
        WIDTH,
        break_on_hyphens=False,
    )
    return "\n".join(lines)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3].rstrip() + "..."


def entry_text(entry: Entry) -> str:
    """Return all that is known of an entry, a fact a line, wrapped at 80 columns."""
    rows = [("method", entry.method + (f" ({entry.variant})" if entry.variant else ""))]
    rows.append(("epochs", str(entry.epochs or "not stated by its source")))
    rows.append(("trained on", entry.trained_on))
    rows.append(("licence", entry.licence or "not stated"))
    rows.append(("file", ACCESS[entry.access]))
    rows += [("address", entry.url)] if entry.url else []
    rows += [("inside", entry.inside)] if entry.inside else []
    if entry.file and entry.access in ("direct", "hand"):
        path = cache.path_of(entry)
        rows.append(("in the cache" if path.is_file() else "would be", str(path)))
    kind = "SHA-256 " if entry.sha256 else "MD5 "
    rows.append(("hash", f"{kind}{entry.sha256 or entry.md5}" if entry.sha256 or entry.md5 else "none published"))
    rows.append(("layout", entry.layout or "not seen; recognised when it is read"))
    if entry.published:
        parts = [entry.published.method, entry.published.variant, f"{entry.published.epochs or '?'} epochs"]
        rows.append(("published as", ", ".join(filter(None, parts))))
    rows.append(("source", entry.source))
    rows += [("note", entry.note)] if entry.note else []
    lines = [entry.name]
    for name, value in rows:
        lines += textwrap.wrap(
            value, WIDTH, initial_indent=f"  {name:<13} ", subsequent_indent=" " * 16, break_long_words=False,
            break_on_hyphens=False,
        )  # fmt: skip
    return "\n".join(lines)


def pairs_text(found: Sequence[Sequence[Entry]]) -> str:
    """Return what exists at several lengths, the lengths first, then the names to type."""
    if not found:
        return "Nothing of these exists at two lengths of one recipe."
    lines = []
    for entries in found:
        first = entries[0]
        what = first.method + (f" ({first.variant})" if first.variant else "")
        lengths = " / ".join(str(entry.epochs) for entry in entries)
        lines.append(f"{lengths:<28} {what}, {first.project}")
        names = "  ".join(entry.name + ("*" if entry.access == "hand" else "") for entry in entries)
        lines += textwrap.wrap(names, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    lines += ["", f"{len(found)} recipes at two or more lengths, in epochs of pre-training."]
    return "\n".join([*lines, "* must be downloaded by hand."])


def entry_json(entry: Entry) -> dict[str, Any]:
    """Return an entry as plain values, with its project and its place in the cache (None where it is not there)."""
    path = cache.path_of(entry)
    return {**entry.model_dump(), "project": entry.project, "cached": str(path) if path.is_file() else None}


def series_json(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the entries of one recipe as plain values: what they share, and name and access of each length."""
    first = entries[0]
    return {
        "method": first.method, "variant": first.variant, "project": first.project, "trained_on": first.trained_on,
        "lengths": [{"epochs": entry.epochs, "name": entry.name, "access": entry.access} for entry in entries],
    }  # fmt: skip
