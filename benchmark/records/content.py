"""What a record's file holds, read safely: JSON of the present version of the schema, or one sentence.

A record's file may come from anywhere. It is opened only when it is a regular file of a sensible size, and read by a
parser that limits nesting and refuses text that is not Unicode. ``record.py`` holds the content against the schema.
"""

import math
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from benchmark.core.errors import UserError
from benchmark.core.strict_yaml import shorten

SCHEMA_VERSION = 2
MAX_BYTES = 32 << 20  # a record with the ids of all images of COCO has 1 MiB
_LARGE_EXPONENT = re.compile(rb"[eE]\+?\d{3}")
_UNKNOWN_IN_OTHERS = {"versions": {}, "git_commit": None, "created": None}  # never filled in from this machine


def read_content(path: Path) -> dict[str, Any]:
    """Return the fields of a record's file. Raises ``UserError`` naming the file and what is wrong."""
    return _UNKNOWN_IN_OTHERS | _upgraded(_read_object(path), path)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise UserError(f"{shorten(str(path), 300)} is not a file; records are files <id>.json.")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} has {path.stat().st_size / 2**20:.0f} MiB, too many for a record; move it away.")
        data = path.read_bytes()
        content = from_json(data, allow_inf_nan=False)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else shorten(str(error))
        raise UserError(f"{path} cannot be read as a record ({reason}); it is damaged: move it away.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a record: it holds a {type(content).__name__}; move it away.")
    if _LARGE_EXPONENT.search(data) and not _all_finite(content):
        raise UserError(f"{path} holds a number that is too large to be one; correct it or move it away.")
    return content


def _all_finite(content: Any) -> bool:
    """Say whether no number in JSON content has become infinite, as 1e400 does."""
    if isinstance(content, dict):
        return all(map(_all_finite, content.values()))
    if isinstance(content, list):
        return all(map(_all_finite, content))
    return not isinstance(content, float) or math.isfinite(content)


def _upgraded(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the content in the present version of the schema."""
    version = content.get("schema_version")
    if isinstance(version, int) and not isinstance(version, bool) and version > SCHEMA_VERSION:
        raise UserError(
            f"{path} was written by a newer version of this project (schema_version {shorten(str(version), 20)}, this "
            f"one reads up to {SCHEMA_VERSION}); update the project to read it."
        )
    if version == 1 and not isinstance(version, bool):
        return _from_version_1(content)
    if version != SCHEMA_VERSION or isinstance(version, bool):
        shown = shorten(repr(version), 40)
        raise UserError(f"{path} has schema_version {shown}, but records have 1 or {SCHEMA_VERSION}; move it away.")
    return content


def _from_version_1(content: dict[str, Any]) -> dict[str, Any]:
    """Version 1 hashed files where version 2 hashes tensors, and had no word for how method and epochs are known."""
    content = {**content, "schema_version": SCHEMA_VERSION}
    if "weights_sha256" in content and "file_sha256" not in content:
        content["file_sha256"] = content.pop("weights_sha256")
    return content


def problem_of(error: ValidationError) -> str:
    """Return the first problem in words; all fields that are unknown or missing together."""
    problems = error.errors(include_url=False)
    for kind, said in (("extra_forbidden", "it has unknown fields"), ("missing", "it lacks the fields")):
        names = [shorten(".".join(map(str, p["loc"]))) for p in problems if p["type"] == kind]
        if names:
            return f"{said} {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
    first = problems[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "value_error" and not where:
        return shorten(str(first["ctx"]["error"]), 200)
    message = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
    message = message.replace("Input should", "it should").replace("String should", "it should")
    return f"{shorten(where)} is {shorten(repr(first['input']), 60)}, but {shorten(message, 200)}"
