"""Finding entries of the catalogue: by name, by what they are, by a file's hash, and as pairs of two lengths."""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from benchmark.catalogue.entries import Entry, read_zoo
from benchmark.core.errors import UserError, check_choice


def by_name(name: str, zoo: Sequence[Entry] | None = None) -> Entry:
    """Return the entry of that name. Raises ``UserError`` with up to five near names."""
    zoo = read_zoo() if zoo is None else zoo
    found = next((entry for entry in zoo if entry.name == name), None)
    if found is None:
        raise UserError(f"the zoo has no {name!r}{_near(name, zoo)} `python benchmark/zoo.py` lists all names.")
    return found


def _near(name: str, zoo: Sequence[Entry]) -> str:
    names = [entry.name for entry in zoo]
    near = [known for known in names if name and known.startswith(name.rstrip("_"))][:5]
    near = near or difflib.get_close_matches(name, names, n=5, cutoff=0.55)
    return f"; near names are {', '.join(near)}." if near else "."


def choose(
    zoo: Iterable[Entry],
    *,
    method: str | None = None,
    epochs: int | None = None,
    licence: str | None = None,
    source: str | None = None,
) -> list[Entry]:
    """Return the entries that fit all that is given: method and epochs exactly, parts of licence and source.

    Case does not matter; ``none`` as licence finds what states none.

    Raises:
        UserError: no entry has such a method (near ones are named).
    """
    zoo = list(zoo)
    if method is not None:
        method = method.lower()
        check_choice("--method", method, sorted({entry.method for entry in zoo}))
    return [
        entry
        for entry in zoo
        if method in (None, entry.method)
        and epochs in (None, entry.epochs)
        and _licence_fits(entry, licence)
        and (source is None or source.lower() in f"{entry.source} {entry.url}".lower())
    ]


def _licence_fits(entry: Entry, licence: str | None) -> bool:
    if licence is None:
        return True
    if entry.licence is None:
        return licence.lower() == "none"
    return licence.lower() in entry.licence.lower()


def by_hash(sha256: str, md5: str | None = None, zoo: Sequence[Entry] | None = None) -> Entry | None:
    """Return the entry whose published hash a file has, or None; a published hash may be its first digits only.

    Args:
        sha256, md5: of the whole file, all hexadecimal digits; entries that publish an MD5 are found with `md5` only.
    """
    for entry in read_zoo() if zoo is None else zoo:
        if entry.sha256 and sha256.startswith(entry.sha256):
            return entry
        if entry.md5 and md5 and md5.startswith(entry.md5):
            return entry
    return None


def series(zoo: Iterable[Entry]) -> list[list[Entry]]:
    """Return the entries of one project's one recipe at two or more lengths, each list from short to long.

    The recipe is the method with its variant and its data; entries of unknown epochs, and what is no file for us,
    belong to none. Where a length exists twice (backbone alone and full checkpoint), the first in the file stands.
    """
    groups: dict[tuple, dict[int, Entry]] = defaultdict(dict)
    for entry in zoo:
        if entry.epochs is not None and entry.access in ("direct", "hand"):
            key = (entry.method, entry.project, entry.variant, entry.trained_on)
            groups[key].setdefault(entry.epochs, entry)
    ordered = sorted(groups.items(), key=lambda item: tuple(str(part) for part in item[0]))
    return [[by_length[epochs] for epochs in sorted(by_length)] for _, by_length in ordered if len(by_length) > 1]
