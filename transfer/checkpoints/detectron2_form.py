"""The Detectron2 form of a backbone: its names, and the file that Detectron2 loads into C4 and FPN models alike."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import Tensor

from transfer.checkpoints.resnet import expected_shapes

AUTHOR = "ssl-detection-benchmark"


def detectron2_name(name: str) -> str:
    """Turn torchvision's name into Detectron2's, without the prefix that differs between C4 and FPN.

    ``layer1.0.bn2.weight`` -> ``res2.0.conv2.norm.weight``; ``conv1.weight`` -> ``stem.conv1.weight``.
    """
    name = re.sub(r"^(?=conv1\.|bn1\.)", "stem.", name)
    name = re.sub(r"^layer(\d)\.", lambda found: f"res{int(found[1]) + 1}.", name)
    name = name.replace(".downsample.0.", ".shortcut.").replace(".downsample.1.", ".shortcut.norm.")
    return re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)


@cache
def _torchvision_names() -> dict[str, str]:
    return {detectron2_name(known): known for known in expected_shapes()}


def torchvision_name(name: str) -> str:
    """Turn Detectron2's bare name of a ResNet-50's tensor into torchvision's; others are returned as they are."""
    return _torchvision_names().get(name, name)


def detectron2_file(tensors: Mapping[str, Tensor], source: dict[str, Any]) -> dict[str, Any]:
    """Return a converted file's content.

    Args:
        tensors: of a whole ResNet under torchvision's names; others (``fc``, norm counters) must not be among them.
        source: plain values, see ``backbone.Provenance.source``.

    Returns:
        ``{"model": float32 copies by Detectron2's name, "__author__", "matching_heuristics": True, "source"}``.
    """
    model = {detectron2_name(name): tensor.detach().float().clone() for name, tensor in tensors.items()}
    return {"model": model, "__author__": AUTHOR, "matching_heuristics": True, "source": source}


def source_of_file(content: Any) -> Mapping[str, Any] | None:
    """Return the source that an earlier conversion wrote into a file's content; None where there is none."""
    if not isinstance(content, Mapping) or content.get("__author__") != AUTHOR:
        return None
    said = content.get("source")
    return said if isinstance(said, Mapping) else None
