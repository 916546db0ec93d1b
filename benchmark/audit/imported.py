"""The record of somebody else's run, as its log tells it: kind ``imported``, marked in every table."""

import re
from typing import Any

from benchmark.audit.matching import unknown_keys
from benchmark.audit.settings import ABSENT, shown
from benchmark.audit.verdict import Audit
from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of
from benchmark.records import RunRecord


def imported_record(found: Audit, *, method: str | None = None, epochs: int | None = None) -> RunRecord:
    """Return the record of an audited run.

    Args:
        method, epochs: of the pre-training, as the user states them; they are recorded as stated, because a log of
            fine-tuning does not tell them.

    Raises:
        UserError: the run gave no average precision, has no config, did not end, or is near none of our protocols.
    """
    if found.match is None or found.settings is None:
        raise UserError(f"{found.path} holds no config, so no record can say what was run; give a log with its config.")
    if not found.match.near:
        raise UserError(f"{found.path} is near none of our protocols, so its figures belong into none of our tables.")
    if not found.log.metrics:
        raise UserError(f"{found.path} holds no average precision; give the log of a run that was evaluated.")
    if found.complete is False:
        raise UserError(f"{found.path} ends before the end of its schedule; its figures are not those of the protocol.")
    protocol, log = found.match.protocol, found.log
    overrides = {item.key: _plain(item.found) for item in found.match.differences}
    if found.match.rescaled is not None:
        overrides["SOLVER.IMS_PER_BATCH"] = found.settings["SOLVER.IMS_PER_BATCH"]
    identity = {"settings": {key: shown(value) for key, value in found.settings.items()}, "metrics": log.metrics}
    key = sha256_of({**identity, "seed": log.seed})[:10]
    return RunRecord(
        id=f"imported-{_word(found.path.stem)}-{key}",
        kind="imported",
        status="completed",
        method=method or _word(str(found.weights or "unknown").rsplit("/", 1)[-1]),
        method_source="stated" if method else None,
        epochs=epochs,
        epochs_source="stated" if epochs is not None else None,
        seed=log.seed,
        protocol=protocol.name,
        protocol_hash=protocol.hash if found.match.exact else sha256_of({"of": protocol.hash, "with": overrides}),
        data=protocol.task,
        overrides=overrides,
        metrics=log.metrics,
        duration_seconds=log.total_seconds,
        hardware={"name": log.gpu, "processes": log.world_size, "device": "cuda"} if log.gpu else {},
        versions=dict(log.versions),
        git_commit=None,
        config={},
        details=_details(found),
    )


def _details(found: Audit) -> dict[str, Any]:
    log = found.log
    return {
        "lr": float(found.settings["SOLVER.BASE_LR"])
        if found.settings and "SOLVER.BASE_LR" in found.settings
        else None,
        "weights": found.weights,
        "source": found.path.name,
        "norms": dict(log.norms),
        "seconds_per_iteration": log.seconds_per_iteration,
        "memory_mib": log.memory_mib,
        "findings": list(found.findings),
        "unknown_settings": unknown_keys(found.settings or {}),
    }


def _plain(value: object) -> Any:
    """Return a setting as JSON holds it."""
    if value is ABSENT:
        return None
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _word(text: str) -> str:
    """Return a text as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_.]+", "_", text)[:60].strip("._") or "unknown"
