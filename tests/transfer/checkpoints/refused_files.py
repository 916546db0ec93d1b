"""Files that hold no ResNet-50 that Detectron2 could hold, or that need trust, and what must be said of each."""

import pickle
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from omegaconf import OmegaConf

from tests.transfer.checkpoints.layout_files import State, light, under
from tests.transfer.checkpoints.project_files import linear

STATE = light(0)


@dataclass(frozen=True)
class Refused:
    """A file: its name for people, how it is written, and what must be said (a regular expression)."""

    name: str
    write: Callable[[Path], object]
    said: str


def _torch(content: object) -> Callable[[Path], object]:
    return lambda path: torch.save(content, path)


def _network(name: str, **options: object) -> State:
    """Return the state of a network of torchvision's, every tensor one number repeated."""
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(**options)
    return {key: torch.zeros((), dtype=t.dtype).expand(t.shape) for key, t in model.state_dict().items()}


def _pickle_of(module: str, name: str) -> bytes:
    """Return a pickle that calls a global of a package that is not installed here."""
    words = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    return b"\x80\x04}\x8c\x05state" + words + b"\x93)Rs."


def _with_a_history(path: Path) -> None:
    """Write a checkpoint as mmengine does: its message hub keeps an object of a class of its own."""
    module = types.ModuleType("mmengine.logging.history_buffer")
    module.HistoryBuffer = type("HistoryBuffer", (), {"__module__": module.__name__})
    packages = {"mmengine": types.ModuleType("mmengine"), "mmengine.logging": types.ModuleType("mmengine.logging")}
    before = dict(sys.modules)
    sys.modules.update({**packages, module.__name__: module})
    try:
        hub = {"log_scalars": {"train/loss": module.HistoryBuffer()}}
        torch.save({"meta": {"epoch": 200}, "state_dict": under("backbone.", STATE), "message_hub": hub}, path)
    finally:
        for name in (*packages, module.__name__):
            sys.modules.pop(name)
        sys.modules.update({name: before[name] for name in before.keys() & packages.keys()})


_FULL_NORMS = {name: tensor for name, tensor in STATE.items() if "running" not in name and "num_batches" not in name}
_DEEP_STEM = {name: t for name, t in STATE.items() if name != "conv1.weight"} | {
    f"conv1.{i}.weight": torch.ones(32, 3 if i == 0 else 32, 3, 3) for i in (0, 3, 6)
}
_SQUEEZED = STATE | {f"layer1.{i}.se.fc1.weight": torch.ones(16, 256, 1, 1) for i in range(3)}
_CLIP = under("visual.", {n: t for n, t in STATE.items() if n != "conv1.weight" and "fc." not in n}) | {
    "visual.conv1.weight": torch.ones(32, 3, 3, 3), "visual.attnpool.k_proj.weight": torch.ones(4, 4),
    "logit_scale": torch.tensor(4.6), "transformer.resblocks.0.attn.in_proj_weight": torch.ones(4, 4),
}  # fmt: skip
_PRE_ACTIVATION = linear("stem.conv.weight", *(
    f"stages.{stage}.blocks.{block}.{part}.weight"
    for stage in range(4) for block in range(3) for part in ("norm1", "conv1", "norm2", "conv2", "norm3", "conv3")
))  # fmt: skip

REFUSED = (
    Refused("SwAV RN50w2, torchvision wide_resnet50_2", _torch(_network("wide_resnet50_2")),
            "265 tensors.*misshaped.*a wide or grouped ResNet-50"),
    Refused("timm resnext50_32x4d", _torch(_network("resnext50_32x4d")), "misshaped.*a wide or grouped ResNet-50"),
    Refused("ResNet-101", _torch(_network("resnet101")), "unexpected.*looks like .*ResNet-101"),
    Refused("timm resnet50d", _torch(_DEEP_STEM), r"1 missing: conv1\.weight.*3x3 stem"),
    Refused("timm seresnet50", _torch(_SQUEEZED), r"3 unexpected: layer1\.0\.se\.fc1\.weight"),
    Refused("timm resnet50_gn", _torch(_FULL_NORMS), r"106 missing: bn1\.running_mean"),
    Refused("a quantised ResNet-50", _torch(STATE | {"layer1.0.conv1.weight": torch.ones(
        64, 64, 1, 1, dtype=torch.int8)}), r"1 not floating point: layer1\.0\.conv1\.weight \(int8\)"),
    Refused("CLIP RN50, state dict", _torch(_CLIP), "CLIP's own ResNet .*attention pool"),
    Refused("timm resnetv2_50, BiT", _torch(_PRE_ACTIVATION), r"a pre-activation ResNet \(ResNet-v2"),
    Refused("ConvNeXt", _torch(_network("convnext_tiny")), "a ConvNeXt"),
    Refused("timm ConvNeXt", _torch(linear(*(f"stages.0.blocks.{i}.conv_dw.weight" for i in range(3)))), "a ConvNeXt"),
    Refused("Vision Transformer", _torch(_network("vit_b_32")), r"a Vision Transformer \(ViT\)"),
    Refused("Swin Transformer", _torch(_network("swin_t")), "a Swin Transformer"),
    Refused("AlexNet (DeepCluster)", _torch(linear("features.0.weight", "classifier.1.weight")), "an AlexNet or VGG"),
    Refused("a whole model (torch.save(model))", _torch(torch.nn.Linear(2, 2)),
            r"names torch\.nn\.modules\.linear\.Linear, which could run code.*give --trust"),
    Refused("solo-learn with OmegaConf's hyper-parameters", _torch({
        "state_dict": under("backbone.", STATE), "hyper_parameters": OmegaConf.create({"method": "byol"})}),
        r"names omegaconf\.dictconfig\.DictConfig.*give --trust"),
    Refused("mmengine, straight from training", _with_a_history,
            r"names mmengine\.logging\.history_buffer\.HistoryBuffer.*give --trust"),
    Refused("DeepMind's BYOL (JAX, dill)", lambda path: path.write_bytes(
        _pickle_of("jax._src.device_array", "reconstruct_device_array")),
        r"names jax\._src\.device_array\.reconstruct_device_array.*give --trust"),
    Refused("a pickle of something else", lambda path: path.write_bytes(pickle.dumps([1, "text"])),
            "holds no ResNet-50: it looks like a file without tensors"),
)  # fmt: skip
