"""The tensors of a ResNet under torchvision's names: 265 for a ResNet-50, 100 for a ResNet-18.

Each convolution (53 or 20) has a norm of four tensors: weight, bias, running_mean, running_var. Norm counters
(``num_batches_tracked``) and the classifier belong to no backbone.
"""

from collections.abc import Callable, Iterable
from functools import cache

import torch
import torchvision

ARCHITECTURES = {"resnet50": "ResNet-50", "resnet18": "ResNet-18"}  # as torchvision and as people call them
COUNTER = "num_batches_tracked"


@cache
def expected_shapes(arch: str = "resnet50") -> dict[str, tuple[int, ...]]:
    """Return torchvision's name -> shape of every tensor of a backbone, in torchvision's order."""
    with torch.device("meta"):
        state = getattr(torchvision.models, arch)().state_dict()
    return {name: tuple(t.shape) for name, t in state.items() if not (name.startswith("fc.") or COUNTER in name)}


def shorten(names: Iterable[str], own: Callable[[str], str] = str, most: int = 12) -> str:
    """List names for one sentence: a wholly absent stage as ``layer4.* (all 50)``, then up to `most` single ones.

    Args:
        names: torchvision's names, or any others.
        own: how the file calls the tensor of torchvision's name.
        most: names listed singly.
    """
    names = list(names)
    parts = []
    for stage in range(1, 5):
        whole = [name for name in expected_shapes() if name.startswith(f"layer{stage}.")]
        if set(whole) <= set(names):
            first, last = own(whole[0]), own(whole[-1])
            parts.append(f"{first.split('.')[0]}.* (all {len(whole)}, {first} to {last})")
            names = [name for name in names if name not in set(whole)]
    parts += [_cut(own(name)) for name in names[:most]] + (
        [f"and {len(names) - most} more"] if len(names) > most else []
    )
    return ", ".join(parts)


def _cut(name: str, longest: int = 120) -> str:
    return name if len(name) <= longest else name[:longest] + "..."
