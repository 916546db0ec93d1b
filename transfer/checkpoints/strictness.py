"""Whether tensors are exactly a ResNet's, and everything that keeps them from being so.

Names, shapes and kinds are looked at before any value: a tensor of 2^40 elements costs nothing until it is touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transfer.checkpoints.namings import Naming
from transfer.checkpoints.resnet import ARCHITECTURES, expected_shapes, shorten

KINDS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)  # that become float32 as they are


@dataclass(frozen=True)
class Examined:
    """What was found of a candidate.

    Attributes:
        arch: the architecture that it was measured by.
        faults: what is wrong, for people; empty when nothing is.
        tensors: torchvision's name -> float32 tensor, where nothing is wrong; else empty.
    """

    arch: str
    faults: list[str]
    tensors: dict[str, Tensor]


def architecture(tensors: Mapping[str, Tensor]) -> str:
    """Return the architecture that tensors are measured by: the one that most of their shapes fit."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}.items()
    return max(ARCHITECTURES, key=lambda arch: len(shapes & expected_shapes(arch).items()))


def examine(
    tensors: Mapping[str, Tensor],
    again: Sequence[tuple[str, Tensor]],
    foreign: Sequence[str],
    others: Sequence[str],
    naming: Naming,
) -> Examined:
    """Hold a candidate's tensors against a ResNet-50's (or ResNet-18's); see ``finding.Candidate``."""
    if naming.name == "caffe2":
        tensors = unfolded(tensors)
    arch = architecture(tensors)
    expected, own = expected_shapes(arch), naming.own_name
    missing = [name for name in expected if name not in tensors]
    misshaped = [name for name, t in tensors.items() if name in expected and tuple(t.shape) != expected[name]]
    no_numbers = [name for name, tensor in tensors.items() if not _is_plain(tensor)]
    fit = [name for name in tensors if name in expected and name not in {*misshaped, *no_numbers}]
    values = {name: _value(tensors[name]) for name in fit}
    found = {
        "missing": missing,
        "unexpected": [*foreign, *(others if missing else [])],
        "misshaped": [f"{own(n)} {tuple(tensors[n].shape)} instead of {expected[n]}" for n in misshaped],
        "given twice with different values": [own(name) for name, t in again if not _equals(values.get(name), t)],
        "not floating point": [f"{own(name)} ({_kind(tensors[name])})" for name in no_numbers],
        "not finite (NaN or infinity)": [own(name) for name, t in values.items() if not t.isfinite().all()],
        "negative, which no variance is": [
            own(name) for name, t in values.items() if name.endswith("running_var") and (t < 0).any()
        ],
    }
    listed = {fault: shorten(names, own if fault == "missing" else str) for fault, names in found.items()}
    faults = [f"{len(found[fault])} {fault}: {text}" for fault, text in listed.items() if text]
    return Examined(arch, faults, {} if faults else {name: values[name] for name in expected})


def _is_plain(tensor: Tensor) -> bool:
    return tensor.dtype in KINDS and not tensor.is_meta and not tensor.is_quantized


def _kind(tensor: Tensor) -> str:
    return "no values: a tensor on the meta device" if tensor.is_meta else str(tensor.dtype).removeprefix("torch.")


def _value(tensor: Tensor) -> Tensor:
    """Return a tensor of known shape and kind in float32, sparse ones filled in."""
    tensor = tensor.detach()
    return (tensor if tensor.layout is torch.strided else tensor.to_dense()).float()


def _equals(value: Tensor | None, other: Tensor) -> bool:
    if value is None or value.shape != other.shape or not _is_plain(other):
        return False
    return torch.equal(value, _value(other))


def unfolded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a Caffe2 file's tensors with statistics that change nothing: its norms are folded into scale and shift.

    Mean 0 and variance 1 - eps, so that a norm with torch's eps of 1e-5 divides by exactly 1, as in Detectron2.
    """
    filled = dict(tensors)
    for name, scale in tensors.items():
        if name.endswith(".weight") and scale.dim() == 1 and len(scale) <= 2048:
            start = name.removesuffix("weight")
            filled[start + "running_mean"] = torch.zeros(len(scale))
            filled[start + "running_var"] = torch.full((len(scale),), 1 - 1e-5)
    return filled
