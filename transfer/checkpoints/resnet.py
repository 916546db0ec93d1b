"""The 265 tensors of a ResNet-50 backbone, and the three ways in which files call them.

53 convolutions, each with a norm of four tensors (weight, bias, running_mean, running_var).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
import torchvision

STAGES = (3, 4, 6, 3)
_LEAF = r"(?:weight|bias|running_mean|running_var|num_batches_tracked)"
_NOT_IN_A_NUMBERED_BLOCK = r"(?<!\d\.\d\.)(?<!\d\.\d\d\.)"  # ``4.0.conv1`` is no stem
_BLOCK = rf"\d+\.(?:conv\d|bn\d|downsample\.\d)\.{_LEAF}"
_DETECTRON = rf"(?:stem\.conv1|res[2-5]\.\d+\.(?:conv\d|shortcut))(?:\.norm)?\.{_LEAF}"
_IN_A_BLOCK = re.compile(r"(?:^|\.)(?:layer([1-4])|res([2-5])|([4-7]))\.(\d+)\.(conv\d|bn\d|shortcut|downsample)(.*)")
_PARTS_OF_DETECTORS = re.compile(r"(?:^|\.)(?:backbone(?:\.bottom_up)?|roi_heads)$")


@cache
def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Return torchvision's name -> shape of the 265 tensors, in torchvision's order."""
    with torch.device("meta"):
        state = torchvision.models.resnet50().state_dict()
    left_out = ("fc.", "num_batches_tracked")
    return {name: tuple(t.shape) for name, t in state.items() if not (left_out[0] in name or left_out[1] in name)}


def detectron2_name(name: str) -> str:
    """Turn torchvision's name into Detectron2's, without the prefix that differs between C4 and FPN.

    ``layer1.0.bn2.weight`` -> ``res2.0.conv2.norm.weight``; ``conv1.weight`` -> ``stem.conv1.weight``.
    """
    name = re.sub(r"^(?=conv1\.|bn1\.)", "stem.", name)
    name = re.sub(r"^layer(\d)\.", lambda found: f"res{int(found[1]) + 1}.", name)
    name = name.replace(".downsample.0.", ".shortcut.").replace(".downsample.1.", ".shortcut.norm.")
    return re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)


@cache
def _detectron2_to_torchvision() -> dict[str, str]:
    return {detectron2_name(known): known for known in expected_shapes()}


def _from_detectron2(name: str) -> str:
    return _detectron2_to_torchvision().get(name, name)


def _from_numbers(name: str) -> str:
    """Turn the names of ``nn.Sequential(conv1, bn1, relu, maxpool, layer1..layer4)`` into torchvision's."""
    first, rest = name.split(".", 1)
    return {"0": "conv1", "1": "bn1"}.get(first, f"layer{int(first) - 3}") + "." + rest


@dataclass(frozen=True)
class Naming:
    """One way of naming the tensors of a ResNet.

    Attributes:
        name: ``torchvision``, ``numbered`` or ``detectron2``.
        pattern: of a full name: what precedes the ResNet's own name, and that name.
        body: of the start of names inside the ResNet, whether a ResNet-50 has them or not.
        to_torchvision: its own names -> torchvision's.
    """

    name: str
    pattern: str
    body: str
    to_torchvision: Callable[[str], str]

    def split(self, name: str) -> tuple[str, str] | None:
        """Return (address, own name) of a ResNet's tensor, or None for another's."""
        found = re.fullmatch(self.pattern, name)
        if not found:
            return None
        address = found[1].rstrip(".")
        if self.name == "detectron2":
            address = _PARTS_OF_DETECTORS.sub("", address)
        return address, found[2]

    def knows(self, own: str) -> bool:
        """Say whether a ResNet-50 has this tensor."""
        return self.to_torchvision(own) in expected_shapes()

    def bare(self, name: str) -> str:
        """Cut what a detector puts before the ResNet's names, where this naming is a detector's."""
        return re.sub(r"^(backbone\.(bottom_up\.)?|roi_heads\.)", "", name) if self.name == "detectron2" else name

    def is_body(self, own: str) -> bool:
        """Say whether a name belongs to a ResNet's body rather than to a head."""
        return re.match(self.body, own) is not None

    def own_name(self, torchvision_name: str) -> str:
        """Return this naming's name of a tensor."""
        if self.name == "detectron2":
            return detectron2_name(torchvision_name)
        if self.name == "numbered":
            numbers = {"conv1": "0", "bn1": "1"} | {f"layer{stage}": str(stage + 3) for stage in range(1, 5)}
            first, rest = torchvision_name.split(".", 1)
            return f"{numbers[first]}.{rest}"
        return torchvision_name


NAMINGS = (
    Naming("detectron2", rf"((?:.*?\.)??)({_DETECTRON})", r"(stem|res\d\.\d+)\.", _from_detectron2),
    Naming(
        "torchvision",
        rf"((?:.*?\.)??)((?:layer\d\.{_BLOCK})|(?:{_NOT_IN_A_NUMBERED_BLOCK}(?:conv1|bn1)\.{_LEAF}))",
        r"(conv|bn|layer)\d",
        str,
    ),
    Naming("numbered", rf"((?:.*?\.)??)((?:[4-7]\.{_BLOCK})|(?:0\.weight|1\.{_LEAF}))", r"[0-7]\.", _from_numbers),
)


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
    parts += [own(name) for name in names[:most]] + ([f"and {len(names) - most} more"] if len(names) > most else [])
    return ", ".join(parts)


def looks_like(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Say what a file's tensors look like, by their names (without prefixes that matter) and shapes.

    Args:
        shapes: name -> shape of every tensor in the file.
    """
    names = "\n".join(shapes)
    if not shapes:
        return "a file without tensors"
    if re.search(r"(^|[._])res\d_\d+_branch2a_w$|^conv1_w$", names, re.M):
        return "Caffe2's names (such as MSRA's R-50.pkl); give it to Detectron2 as --weights msra:FILE"
    if re.search(r"relative_position_bias_table|layers\.\d\.blocks\.\d+\.attn", names):
        return "a Swin Transformer"
    if re.search(
        r"cls_token|blocks\.\d+\.attn|encoder_layer_\d+|transformer\.resblocks|attention\.(query|self)", names
    ):
        return "a Vision Transformer (ViT)"
    if re.search(r"dwconv|stages\.\d\.blocks|features\.\d\.\d\.block\.\d", names):
        return "a ConvNeXt or similar"
    return (
        _which_resnet(shapes) or f"no ResNet (it has {', '.join(filter(None, list(shapes)[:3])) or 'one tensor'}, ...)"
    )


def _which_resnet(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Name the ResNet whose blocks these are; empty if there are none."""
    blocks: dict[int, set[int]] = {}
    own: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        found = re.search(
            r"(?:^|\.)(?:layer([1-4])|res([2-5])|([4-7]))\.(\d+)\.(conv\d|bn\d|shortcut|downsample)(.*)", name
        )
        if found:
            stage = int(found[1] or (found[2] and int(found[2]) - 1) or int(found[3]) - 3)
            blocks.setdefault(stage, set()).add(int(found[4]))
            own[f"{stage}.{found[4]}.{found[5]}{found[6]}"] = shape
        elif re.search(r"(^|\.)(conv1|conv1\.0|stem\.conv1)\.weight$", name):
            own.setdefault("stem", shape)
    if not blocks:
        return ""
    counts = tuple(max(blocks.get(stage, {-1})) + 1 for stage in range(1, 5))
    deep = any(".conv3." in name for name in own)
    known = {(3, 4, 6, 3): "50", (3, 4, 23, 3): "101", (3, 8, 36, 3): "152"} if deep else {
        (2, 2, 2, 2): "18", (3, 4, 6, 3): "34"}  # fmt: skip
    name = f"ResNet-{known[counts]}" if counts in known else f"a ResNet with {counts} blocks"
    absent = [f"layer{stage}" for stage in range(1, 5) if stage not in blocks]
    width = own.get("1.0.conv2.weight", (0, 0))
    if deep and width[0] > 64:
        name = f"a wide or grouped {name} (first block {width[0]} channels wide)"
    elif deep and width[:1] == (64,) and width[1] != 64:
        name = f"a grouped {name} (ResNeXt)"
    elif own.get("stem", (0, 0, 7))[2] == 3:
        name = f"{name} with a 3x3 stem (CIFAR, CLIP or ResNet-D)"
    if absent and len(absent) < 4:
        name = f"a ResNet-{'50' if deep else '18 or 34'} without {', '.join(absent)}"
    return name
