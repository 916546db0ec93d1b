"""Text from others made fit for readers: no control characters, no halves of characters, no endless lengths."""

import re
import unicodedata

MAX_LENGTH = 500  # characters of one name, reason or source on a page

# Escape sequences of terminals first, so that no "[31m" is left of them.
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# Marks that turn the direction of what follows: a name could disguise itself with them.
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\ufeff]")


def readable(text: str, limit: int | None = MAX_LENGTH) -> str:
    """Return `text` without escape sequences, control characters and lone surrogates, cut to `limit` characters.

    Line breaks and tabs stay where `limit` is None (a configuration, say) and are spaces otherwise.
    """
    if text.isascii() and text.isprintable() and (limit is None or len(text) <= limit):
        return text  # nearly every text: a report of 10,000 records asks millions of times
    if limit is not None and len(text) > 4 * limit:
        text = text[: 4 * limit]  # whatever follows is cut away anyhow
    text = _DIRECTION.sub("", _ESCAPES.sub("", text))
    keep = "\n\t" if limit is None else ""
    kept = []
    for character in text:
        category = unicodedata.category(character)
        if character in keep:
            kept.append(character)
        elif character in "\n\t\r":
            kept.append(" ")
        elif category == "Cs":
            kept.append("\ufffd")
        elif category != "Cc":
            kept.append(character)
    made = "".join(kept)
    return made if limit is None or len(made) <= limit else made[: limit - 1] + "…"
