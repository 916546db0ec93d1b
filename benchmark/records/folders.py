"""Which record belongs to a run's folder: the folder keeps a copy of it; older folders carry its key in their name."""

import json
from collections.abc import Iterable
from pathlib import Path

COPY = "record.json"  # written by the run itself, beside its outputs
MAX_BYTES = 64 << 20


def record_id_of(folder: Path, ids: Iterable[str]) -> str | None:
    """Return the id among `ids` of the record that belongs to a run's folder, None where none of them does."""
    known = set(ids)
    copy = folder / COPY
    try:
        if copy.is_file() and copy.stat().st_size <= MAX_BYTES:
            content = json.loads(copy.read_bytes())
            found = content.get("id") if isinstance(content, dict) else None
            return found if found in known else None
    except (OSError, ValueError, RecursionError, TypeError):
        pass  # a damaged copy tells nothing; the name may
    key = folder.name.rsplit("-", 1)[-1]
    return next((each for each in sorted(known) if key in each), None)
