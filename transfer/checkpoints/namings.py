"""The ways in which files call the tensors of a ResNet, and their translation into torchvision's names."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from transfer.checkpoints.detectron2_form import detectron2_name, torchvision_name
from transfer.checkpoints.resnet import expected_shapes

_LEAF = r"(?:weight|bias|running_mean|running_var|num_batches_tracked)"
_NOT_IN_A_NUMBERED_BLOCK = r"(?<!\d\.\d\.)(?<!\d\.\d\d\.)"  # ``4.0.conv1`` is no stem
_BLOCK = rf"\d+\.(?:conv\d|bn\d|downsample\.\d)\.{_LEAF}"
_DETECTRON = rf"(?:stem\.conv1|res[2-5]\.\d+\.(?:conv\d|shortcut))(?:\.norm)?\.{_LEAF}"
_CAFFE2 = r"(?:conv1_w|res_conv1_bn_[sb]|res[2-5]_\d+_branch(?:1|2[abc])_(?:w|bn_[sb]))"
_OBOW = rf"_feature_blocks\.(?:0\.0\.weight|0\.1\.{_LEAF}|[1-4]\.{_BLOCK})"
_SIMCLRV2 = (
    rf"(?:net\.0\.(?:0\.weight|1\.0\.{_LEAF})|net\.[1-4]\.blocks\.\d+\.(?:net\.[024]\.weight|net\.[135]\.0\.{_LEAF}"
    rf"|projection\.shortcut\.weight|projection\.bn\.0\.{_LEAF}))"
)
_HUGGINGFACE = (
    r"(?:embedder\.embedder|encoder\.stages\.\d\.layers\.\d+\.(?:shortcut|layer\.\d))"
    rf"\.(?:convolution|normalization)\.{_LEAF}"
)
_PARTS_OF_DETECTORS = re.compile(r"(?:^|\.)(?:backbone(?:\.bottom_up)?|roi_heads)$")


def _from_numbers(name: str) -> str:
    """Turn the names of ``nn.Sequential(conv1, bn1, relu, maxpool, layer1..layer4)`` into torchvision's."""
    first, rest = name.split(".", 1)
    return {"0": "conv1", "1": "bn1"}.get(first, f"layer{int(first) - 3}") + "." + rest


def _to_numbers(name: str) -> str:
    first, rest = name.split(".", 1)
    numbers = {"conv1": "0", "bn1": "1"} | {f"layer{stage}": str(stage + 3) for stage in range(1, 5)}
    return f"{numbers[first]}.{rest}"


def _from_obow(name: str) -> str:
    """Turn the names of OBoW's blocks into torchvision's: block 0 is (conv1, bn1), blocks 1 to 4 are the stages."""
    block, rest = name.removeprefix("_feature_blocks.").split(".", 1)
    if block != "0":
        return f"layer{block}.{rest}"
    layer, leaf = rest.split(".", 1)
    return f"{('conv1', 'bn1')[int(layer)]}.{leaf}"


def _to_obow(name: str) -> str:
    first, rest = name.split(".", 1)
    place = {"conv1": "0.0", "bn1": "0.1"}.get(first, first.removeprefix("layer"))
    return f"_feature_blocks.{place}.{rest}"


def _from_simclrv2(name: str) -> str:
    """Turn the names of SimCLRv2-Pytorch's ResNet into torchvision's; in a block, 0, 2, 4 convolve and 1, 3, 5 norm."""
    parts = name.split(".")
    if parts[1] == "0":
        return f"{'conv1' if parts[2] == '0' else 'bn1'}.{parts[-1]}"
    if parts[4] == "projection":
        own = f"downsample.{int(parts[5] == 'bn')}"
    else:
        own = f"{'bn' if int(parts[5]) % 2 else 'conv'}{int(parts[5]) // 2 + 1}"
    return f"layer{parts[1]}.{parts[3]}.{own}.{parts[-1]}"


def _to_simclrv2(name: str) -> str:
    *place, part, leaf = name.split(".")
    if not place:
        return f"net.0.{'0' if part == 'conv1' else '1.0'}.{leaf}"
    block = f"net.{place[0][-1]}.blocks.{place[1]}"
    if place[-1] == "downsample":
        return f"{block}.projection.{'shortcut' if part == '0' else 'bn.0'}.{leaf}"
    index = 2 * (int(part[-1]) - 1)
    return f"{block}.net.{index if part.startswith('conv') else f'{index + 1}.0'}.{leaf}"


def _from_huggingface(name: str) -> str:
    """Turn the names of transformers' ResNet into torchvision's (a layer is a block, a stage a torchvision layer)."""
    *place, kind, leaf = name.split(".")
    norm = kind == "normalization"
    if place == ["embedder", "embedder"]:
        return f"{'bn1' if norm else 'conv1'}.{leaf}"
    _, _, stage, _, block, *part = place
    own = f"downsample.{int(norm)}" if part == ["shortcut"] else f"{'bn' if norm else 'conv'}{int(part[1]) + 1}"
    return f"layer{int(stage) + 1}.{block}.{own}.{leaf}"


def _to_huggingface(name: str) -> str:
    *place, part, leaf = name.split(".")
    norm = part.startswith("bn") or (place[-1:] == ["downsample"] and part == "1")
    kind = "normalization" if norm else "convolution"
    if not place:
        return f"embedder.embedder.{kind}.{leaf}"
    own = "shortcut" if place[-1] == "downsample" else f"layer.{int(part[-1]) - 1}"
    return f"encoder.stages.{int(place[0][-1]) - 1}.layers.{place[1]}.{own}.{kind}.{leaf}"


_CAFFE2_LEAF = {"w": "weight", "bn_s": "weight", "bn_b": "bias"}


def _from_caffe2(name: str) -> str:
    """Turn Caffe2's names into torchvision's: ``res2_0_branch2a_bn_s`` -> ``layer1.0.bn1.weight``."""
    *place, leaf = re.split(r"_(?=w$|bn_[sb]$)", name)
    norm = leaf.startswith("bn")
    if place[0] in ("conv1", "res_conv1"):
        return f"{'bn1' if norm else 'conv1'}.{_CAFFE2_LEAF[leaf]}"
    stage, block, branch = place[0].split("_")
    if branch == "branch1":
        part = f"downsample.{int(norm)}"
    else:
        part = f"{'bn' if norm else 'conv'}{'abc'.index(branch[-1]) + 1}"
    return f"layer{int(stage[3:]) - 1}.{block}.{part}.{_CAFFE2_LEAF[leaf]}"


def _to_caffe2(name: str) -> str:
    parts = name.split(".")
    norm = "bn" in parts[-2] or parts[-3:-1] == ["downsample", "1"]
    leaf = {"weight": "bn_s" if norm else "w", "bias": "bn_b"}.get(parts[-1], "bn_" + parts[-1])
    if len(parts) == 2:
        return f"{'res_conv1' if norm else 'conv1'}_{leaf}"
    branch = "branch1" if parts[2] == "downsample" else "branch2" + "abc"[int(parts[2][-1]) - 1]
    return f"res{int(parts[0][-1]) + 1}_{parts[1]}_{branch}_{leaf}"


@dataclass(frozen=True)
class Naming:
    """One way of naming the tensors of a ResNet.

    Attributes:
        name: ``torchvision``, ``numbered`` (by ``nn.Sequential``), ``detectron2``, ``caffe2``, ``huggingface``,
            ``simclrv2`` or ``obow``.
        pattern: of a full name: what precedes the ResNet's own name, and that name.
        body: of the start of names inside the ResNet, whether a ResNet-50 has them or not.
        to_torchvision, from_torchvision: its own names -> torchvision's, and back.
    """

    name: str
    pattern: str
    body: str
    to_torchvision: Callable[[str], str]
    from_torchvision: Callable[[str], str]

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
        return self.from_torchvision(torchvision_name)


NAMINGS = (
    Naming(
        "detectron2",
        rf"((?:.*?\.)??)({_DETECTRON})",
        r"(stem\.(?!fc\.)|res\d\.\d+\.)",
        torchvision_name,
        detectron2_name,
    ),
    Naming(
        "torchvision",
        rf"((?:.*?\.)??)((?:layer\d\.{_BLOCK})|(?:{_NOT_IN_A_NUMBERED_BLOCK}(?:conv1|bn1)\.{_LEAF}))",
        r"(conv|bn|layer)\d",
        str,
        str,
    ),
    Naming("simclrv2", rf"((?:.*?\.)??)({_SIMCLRV2})", r"net\.", _from_simclrv2, _to_simclrv2),
    Naming("obow", rf"((?:.*?\.)??)({_OBOW})", r"_feature_blocks\.\d", _from_obow, _to_obow),
    Naming(
        "numbered",
        rf"((?:.*?\.)??)((?:[4-7]\.{_BLOCK})|(?:0\.weight|1\.{_LEAF}))",
        r"[0-7]\.",
        _from_numbers,
        _to_numbers,
    ),
    Naming(
        "caffe2",
        rf"((?:.*?\.)??)({_CAFFE2})",
        r"(?!.*_momentum$)((res_)?conv1_|res\d_\d+_branch)",
        _from_caffe2,
        _to_caffe2,
    ),
    Naming(
        "huggingface",
        rf"((?:.*?\.)??)({_HUGGINGFACE})",
        r"(embedder|encoder)\.",
        _from_huggingface,
        _to_huggingface,
    ),
)
