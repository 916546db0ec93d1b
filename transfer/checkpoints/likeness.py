"""What a file holds that holds no ResNet-50, said in the words of its field."""

import re
from collections.abc import Mapping

_IN_A_BLOCK = re.compile(r"(?:^|\.)(?:layer([1-4])|res([2-5])|([4-7]))\.(\d+)\.(conv\d|bn\d|shortcut|downsample)(.*)")


# Networks with the very names and shapes of a ResNet-50 that compute something else: a file's ``arch`` tells them.
LOOKALIKES = {"resnetaa": "blurs before it strides", "resnetblur": "blurs before it strides"}


def lookalike(arch: str) -> str | None:
    """Say what else a network named so computes than the ResNet whose names and shapes it has; None for nothing."""
    return next((does for start, does in LOOKALIKES.items() if arch.lower().startswith(start)), None)


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
    if "logit_scale" in names or re.search(r"attnpool\.", names):
        return _of_clip(names)
    if re.search(r"relative_position_bias_table|layers\.\d\.blocks\.\d+\.attn", names):
        return "a Swin Transformer"
    if re.search(
        r"cls_token|blocks\.\d+\.attn|encoder_layer_\d+|transformer\.resblocks|attention\.(query|self)", names
    ):
        return "a Vision Transformer (ViT)"
    if re.search(r"stages\.\d\.blocks\.\d+\.(norm1|conv1|downsample\.conv)", names):
        return "a pre-activation ResNet (ResNet-v2, such as BiT), which Detectron2's ResNet cannot hold"
    if re.search(r"^(.*\.)?block\d/unit\d+/a/", names, re.M):
        return "BiT's ResNet-v2 as JAX names it"
    if re.search(r"dwconv|conv_dw|stages\.\d\.blocks|features\.\d\.\d\.block\.\d", names):
        return "a ConvNeXt or similar"
    if re.search(r"(^|\.)features\.0\.weight$", names, re.M) and re.search(r"(^|\.)classifier\.\d", names, re.M):
        return "an AlexNet or VGG"
    return (
        _which_resnet(shapes) or f"no ResNet (it has {', '.join(filter(None, list(shapes)[:3])) or 'one tensor'}, ...)"
    )


def _of_clip(names: str) -> str:
    if re.search(r"visual\.(transformer|class_embedding|conv1\.weight$)", names, re.M) and "layer1" not in names:
        return "CLIP with a Vision Transformer (ViT)"
    return "CLIP's own ResNet (a stem of three 3x3 convolutions, an attention pool), which Detectron2's cannot hold"


def _which_resnet(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Name the ResNet whose blocks these are; empty if there are none."""
    blocks: dict[int, set[int]] = {}
    own: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        found = _IN_A_BLOCK.search(name)
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
    width = (*own.get("1.0.conv2.weight", ()), 0, 0)[:2]
    if deep and width[0] > 64:
        name = f"a wide or grouped {name} (first block {width[0]} channels wide)"
    elif deep and width[0] == 64 and width[1] != 64:
        name = f"a grouped {name} (ResNeXt)"
    elif own.get("stem", ())[2:3] == (3,):
        name = f"{name} with a 3x3 stem (CIFAR, CLIP or ResNet-D)"
    if absent and len(absent) < 4:
        name = f"a ResNet-{'50' if deep else '18 or 34'} without {', '.join(absent)}"
    return name
