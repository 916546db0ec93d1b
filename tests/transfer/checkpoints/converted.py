"""Saving checkpoints for tests of their conversion, and saying whether the result is right."""

from pathlib import Path
from typing import Any

import torch

from tests.transfer.checkpoints.layout_files import detectron2


def saved(content: Any, folder: Path, name: str = "file.pth") -> Path:
    """Save in the test's folder and return the path."""
    torch.save(content, folder / name)
    return folder / name


def is_exactly(content: dict[str, Any], state: dict[str, torch.Tensor]) -> bool:
    """Whether a converted file holds exactly the 265 tensors of a network, by names written by hand."""
    expected = detectron2(state)
    return content["model"].keys() == expected.keys() and all(
        tensor.dtype == torch.float32 and torch.equal(tensor, expected[name].float())
        for name, tensor in content["model"].items()
    )
