"""The one ``Backbone`` between reading a checkpoint and using it: a ResNet's tensors, and how all of it is known."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from transfer.checkpoints.convention import CONVENTIONS, InputConvention
from transfer.checkpoints.detectron2_form import detectron2_file

FILE, ZOO, USER = "file", "zoo", "stated by user"  # who says what a method or a number of epochs is


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where weights come from, by whose account; what nobody says is None.

    Attributes:
        sha256: of the file that the weights come from (before any conversion), or of family and seed.
        family: ``checkpoint``, ``random``, ``detectron2-random``, ``torchvision`` or ``msra``.
        layout: where the backbone was found, a name in ``layouts.LAYOUTS`` or ``at:ADDRESS``; for weights that no
            file holds, their family.
        branch: ``online`` or ``momentum``; None where there are no branches.
        convention: of the input, as far as the file tells it.
        arch: ``resnet50`` or ``resnet18``.
        method: of pre-training.
        method_from: who says so: ``file``, ``zoo`` or ``stated by user``; None without a method.
        epoch, total_epochs: completed and planned.
        epochs_from: who says so, as for the method.
        seed: of pre-training.
        dtype: precision of the file's tensors, ``float16`` say; several are joined by commas.
        evidence: what showed layout, method and epochs, for people.
        zoo: name of its entry in the catalogue of published checkpoints, found by name or by hash.
    """

    sha256: str
    family: str = "checkpoint"
    layout: str | None = None
    branch: str | None = None
    convention: InputConvention | None = None
    arch: str = "resnet50"
    method: str | None = None
    method_from: str | None = None
    epoch: int | None = None
    total_epochs: int | None = None
    epochs_from: str | None = None
    seed: int | None = None
    dtype: str | None = None
    evidence: str | None = None
    zoo: str | None = None

    def source(self) -> dict[str, Any]:
        """Return the plain values that a converted file keeps: all attributes, the convention as ``input``."""
        kept = {f.name: getattr(self, f.name) for f in fields(Provenance) if f.name not in ("family", "convention")}
        return kept | {"input": self.convention.name if self.convention else None}

    def name(self, word: str) -> str:
        """Return the method, or where nobody says one the name of the file that `word` gives to ``--weights``."""
        return self.method or Path(word).stem


@dataclass(frozen=True, kw_only=True)
class Backbone(Provenance):
    """A whole ResNet, ready for use.

    Attributes:
        tensors: torchvision's name -> float32 tensor on the CPU: the 265 of a ResNet-50 (100 of a ResNet-18), checked
            for shapes, finite values and variances of 0 or more; None for ``detectron2-random``, which loads nothing.
    """

    tensors: Mapping[str, Tensor] | None

    @property
    def checkpoint(self) -> dict[str, Any] | None:
        """What ``detection.model.load_weights`` takes (a file in Detectron2's form), None where nothing is loaded."""
        return None if self.tensors is None else detectron2_file(self.tensors, self.source())

    def stated(self, method: str | None, epoch: int | None, by: str) -> "Backbone":
        """Return this backbone with what `by` (``zoo``, ``stated by user``) says beside the file; None is nothing."""
        changes: dict[str, Any] = {}
        if method is not None:
            changes |= {"method": method, "method_from": by}
        if epoch is not None:
            changes |= {"epoch": epoch, "epochs_from": by}
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class Detector(Provenance):
    """A whole detector for evaluation, in Detectron2's form: ``{"model": name -> tensor or array, ...}``."""

    checkpoint: dict[str, Any]


# What the ``source`` of a converted file may hold; anything else in a file from elsewhere is left out.
SOURCE_KEYS: dict[str, type] = {
    "sha256": str, "layout": str, "branch": str, "arch": str, "method": str, "method_from": str, "epoch": int,
    "total_epochs": int, "epochs_from": str, "seed": int, "dtype": str, "evidence": str,
    "zoo": str,
}  # fmt: skip


def provenance_of_source(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of ``Provenance`` that a converted file's ``source`` says, of the right type or None."""
    said = {key: source.get(key) if type(source.get(key)) is kind else None for key, kind in SOURCE_KEYS.items()}
    return said | {"convention": CONVENTIONS.get(str(source.get("input")))}
