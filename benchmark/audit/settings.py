"""The settings of a Detectron2 config as flat, comparable values: ``{"SOLVER.BASE_LR": 0.02, ...}``.

Values mean the same whether they were written as YAML lists, as Python tuples or as text that holds a tuple, as yacs
reads them. Nothing in a file is ever evaluated as code.
"""

import ast
from collections.abc import Mapping
from typing import Any

Settings = dict[str, Any]
MAX_DEPTH = 12  # a config of Detectron2 has four levels


def flat(content: Mapping[Any, Any], prefix: str = "", depth: int = 0) -> Settings:
    """Return nested mappings as one, with dotted names. Raises ``ValueError`` where they are nested without end."""
    if depth > MAX_DEPTH:
        raise ValueError(f"settings are nested deeper than {MAX_DEPTH} levels at {prefix[:80]}")
    found: Settings = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.", depth + 1)
        else:
            found[name] = in_one_form(value)
    return found


def in_one_form(value: Any) -> Any:
    """Return a value as it is compared: sequences as tuples, literals in text read."""
    if isinstance(value, str):
        return _literal(value)
    if isinstance(value, list | tuple):
        return tuple(in_one_form(item) for item in value)
    return value


def _literal(text: str) -> Any:
    """Return the tuple, list or number that a text holds, as yacs does; other texts stay what they are."""
    if len(text) > 10_000 or not text[:1] or text[0] not in "([0123456789-+.":
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return in_one_form(value) if isinstance(value, list | tuple | int | float) else text


def equal(one: Any, other: Any) -> bool:
    """Say whether two values mean the same: 16 and 16.0 do, True and 1 do not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return type(one) is type(other) and one == other
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def shown(value: Any) -> str:
    """Return a value for people, at most 60 characters."""
    if value is ABSENT:
        return "not given"
    text = repr(list(value)) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class _Absent:
    """A setting that a file does not have."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()
