"""Reference values of official code; see README.md beside this file."""

import json
from pathlib import Path
from typing import Any

import torch


def read(name: str) -> Any:
    """Return the content of ``<name>.json``."""
    return json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8"))


def tensor(values: Any) -> torch.Tensor:
    """Return nested lists as float64."""
    return torch.tensor(values, dtype=torch.float64)
