"""The effective protocols that this project ships as YAML, and Detectron2's defaults beside them."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from benchmark.audit.settings import Settings, in_one_form

FOLDER = Path(__file__).resolve().parents[1] / "protocols"
DEFAULTS = Path(__file__).resolve().parent / "detectron2_defaults.yaml"


@dataclass(frozen=True)
class ShippedProtocol:
    """One effective protocol: its name, task, the hash of its settings as records carry it, and the settings.

    ``settings`` are those that act in this detector; what nothing reads in it is left out.
    """

    name: str
    task: str
    hash: str
    settings: Settings


@cache
def shipped_protocols() -> dict[str, ShippedProtocol]:
    """Return all shipped protocols by name, in the order of their names."""
    found = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        content = _read(path)
        settings = {key: in_one_form(value) for key, value in content["settings"].items()}
        found[content["protocol"]] = ShippedProtocol(content["protocol"], content["task"], content["hash"], settings)
    return found


@cache
def detectron2_defaults() -> Settings:
    """Return the defaults of Detectron2 by dotted name, which a config leaves unsaid."""
    return {key: in_one_form(value) for key, value in _read(DEFAULTS)["settings"].items()}


def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
