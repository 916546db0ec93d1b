"""Whether a candidate is exactly a ResNet's tensors, and everything that keeps it from being so."""

from transfer.checkpoints.finding import Candidate
from transfer.checkpoints.resnet import ARCHITECTURES, expected_shapes, shorten


def architecture(candidate: Candidate) -> str:
    """Return the architecture that a candidate is measured by: the one that most of its shapes fit."""
    shapes = {name: tuple(tensor.shape) for name, tensor in candidate.tensors.items()}.items()
    return max(ARCHITECTURES, key=lambda arch: len(shapes & expected_shapes(arch).items()))


def faults(candidate: Candidate) -> list[str]:
    """List what keeps a candidate from being a whole ResNet-50 (or ResNet-18) backbone; empty when nothing does."""
    expected, tensors, own = expected_shapes(architecture(candidate)), candidate.tensors, candidate.naming.own_name
    missing = [name for name in expected if name not in tensors]
    misshaped = [
        f"{own(name)} {tuple(tensor.shape)} instead of {expected[name]}"
        for name, tensor in tensors.items()
        if name in expected and tuple(tensor.shape) != expected[name]
    ]
    no_numbers = [own(name) for name, tensor in tensors.items() if not tensor.is_floating_point()]
    not_finite = [own(n) for n, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
    negative = [own(n) for n, t in tensors.items() if n.endswith("running_var") and (t < 0).any()]
    found = {
        "missing": missing,
        "unexpected": candidate.foreign + (candidate.others if missing else []),
        "misshaped": misshaped,
        "given twice with different values": [own(name) for name in candidate.collisions],
        "not floating point": no_numbers,
        "not finite (NaN or infinity)": not_finite,
        "negative, which no variance is": negative,
    }
    listed = {fault: shorten(names, own if fault == "missing" else str) for fault, names in found.items()}
    return [f"{len(found[fault])} {fault}: {text}" for fault, text in listed.items() if text]
