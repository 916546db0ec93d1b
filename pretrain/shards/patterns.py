"""Which shards a word names: ``train-{000000..000146}.tar``, ``{a,b}.tar``, or one file."""

import itertools
import re

from benchmark.core.errors import UserError

MOST_SHARDS = 100_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand(pattern: str) -> list[str]:
    """Return the names that a pattern stands for, in order, as shells and webdataset expand braces.

    ``{000..146}`` counts, with zeros in front where either end has them; ``{a,b}`` lists.

    Raises:
        UserError: braces that do not fit, or more than 100,000 names.
    """
    pieces = _BRACES.split(pattern)  # text, inside of braces, text, ...
    if any("{" in text or "}" in text for text in pieces[::2]):
        raise UserError(f"the braces of {pattern} do not fit; write for instance train-{{000000..000146}}.tar.")
    choices = [[piece] if number % 2 == 0 else _choices(piece, pattern) for number, piece in enumerate(pieces)]
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > MOST_SHARDS:
        raise _too_many(pattern)
    return ["".join(parts) for parts in itertools.product(*choices)]


def _choices(inside: str, pattern: str) -> list[str]:
    """Return what stands for one pair of braces."""
    found = _RANGE.fullmatch(inside)
    if found is None:
        if "," not in inside:
            raise UserError(f"{{{inside}}} in {pattern} is neither a range {{000..146}} nor a list {{a,b}}.")
        return inside.split(",")
    low, high = found.groups()
    if max(len(low), len(high)) > 12 or int(high) - int(low) >= MOST_SHARDS:
        raise _too_many(pattern)
    if int(high) < int(low):
        raise UserError(f"the range {{{inside}}} in {pattern} ends before it begins.")
    padded = any(len(end) > 1 and end.startswith("0") for end in (low, high))
    width = max(len(low), len(high)) if padded else 0
    return [f"{number:0{width}d}" for number in range(int(low), int(high) + 1)]


def _too_many(pattern: str) -> UserError:
    return UserError(f"{pattern} stands for more than {MOST_SHARDS:,} shards; check the numbers.")
