"""What a run changes in its protocol by ``--precision`` and by KEY VALUE pairs."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from detectron2.config import CfgNode

from benchmark.core.errors import UserError, check_choice, nearest
from transfer.protocols.files import leaves
from transfer.protocols.settings import DECIDED_BY, REFUSED, entry_for

PRECISIONS = ("fp32", "bf16")


def set_precision(cfg: CfgNode, precision: str | None) -> dict[str, Any]:
    """Set bf16 autocast or not; return ``{"precision": ...}`` if that is not the protocol's own."""
    if precision is None:
        return {}
    check_choice("--precision", precision, PRECISIONS)
    wanted = precision == "bf16"
    differs = wanted != cfg.SOLVER.AMP.ENABLED
    cfg.SOLVER.AMP.ENABLED = wanted
    return {"precision": precision} if differs else {}


def apply_overrides(cfg: CfgNode, words: Sequence[str]) -> dict[str, Any]:
    """Apply KEY VALUE pairs; return them as read, tuples as lists (as they come back from JSON)."""
    if len(words) % 2:
        raise UserError(f"KEY VALUE overrides come in pairs, but {len(words)} words are given, {words[-1]!r} the last.")
    given: dict[str, Any] = {}
    for key, value in zip(words[::2], words[1::2], strict=True):
        if key in given:
            raise UserError(f"{key} is given twice; give it once.")
        given[key] = _override(cfg, key, value)
    return given


def _override(cfg: CfgNode, key: str, value: str) -> Any:
    known = leaves(cfg)
    if key in DECIDED_BY:
        raise UserError(f"{key} is not set by KEY VALUE; it follows from {DECIDED_BY[key]}.")
    if key not in known:
        raise UserError(f"Detectron2 has no setting {key!r}{nearest(key, known)}")
    if why := entry_for(REFUSED, key):
        raise UserError(f"{key} cannot be changed here: {why}; leave it out.")
    try:
        cfg.merge_from_list([key, value])
    except ValueError:
        raise _wrong_type(key, value, known[key]) from None
    read = attrgetter(key)(cfg)
    if not _like(read, known[key]):
        raise _wrong_type(key, value, known[key])
    return list(read) if isinstance(read, tuple) else read


def _like(value: Any, example: Any) -> bool:
    """Say whether a value is of its example's type where yacs does not look: None, and what is inside a sequence."""
    if value is None or example is None:
        return example is None
    if not isinstance(value, tuple | list) or not example:
        return True
    return all(_kind(item) == _kind(example[0]) and _like(item, example[0]) for item in value)


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)


def _wrong_type(key: str, value: object, example: object) -> UserError:
    return UserError(f"{key} cannot be {value!r}; it needs a {type(example).__name__}, such as {example!r}.")
