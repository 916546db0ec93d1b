"""From a checkpoint's path to the one ``Backbone`` in it, strictly, and to the file that Detectron2 loads."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmark.core.errors import UserError
from benchmark.core.files import write_bytes
from transfer.checkpoints.backbone import Backbone, provenance_of_source
from transfer.checkpoints.choice import AT, choose, likeness
from transfer.checkpoints.contents import Contents
from transfer.checkpoints.convention import RGB
from transfer.checkpoints.detectron2_form import source_of_file
from transfer.checkpoints.evidence import evidence, stated_architecture, stated_convention
from transfer.checkpoints.finding import Candidate, Match
from transfer.checkpoints.likeness import lookalike
from transfer.checkpoints.reading import read_file
from transfer.checkpoints.resnet import ARCHITECTURES, expected_shapes
from transfer.checkpoints.sources import hash_and_account, locate, published_as, with_statement


def convert_checkpoint(
    path: str | Path,
    *,
    branch: str = "online",
    layout: str | None = None,
    trust: bool = False,
    method: str | None = None,
    epoch: int | None = None,
) -> dict[str, Any]:
    """Convert a ResNet-50 checkpoint to what Detectron2 loads into C4 and FPN models alike.

    Args:
        path: a torch file, a Detectron2 pickle or safetensors (see ``reading.read_file``), or a word that names a
            published one (``zoo:NAME``, ``hf:OWNER/NAME``, ``https://...``), which is downloaded once.
        branch: ``online`` (student, query, base) or ``momentum`` (teacher, key, target).
        layout: the name of a layout in ``layouts.LAYOUTS``, or ``at:ADDRESS``; None finds it.
        trust: execute what the file's pickle asks for.
        method, epoch: what the user states of a file that says nothing.

    Returns:
        ``{"model": 265 float32 tensors by Detectron2's name, "__author__", "matching_heuristics": True, "source"}``.
        ``source`` has the attributes of ``backbone.Provenance``: ``epoch`` counts completed epochs by the file's own
        account, ``dtype`` is the file's precision; what the file does not say is None. A file that was converted
        before keeps its source.

    Raises:
        UserError: unreadable or unsafe, no or several backbones, no such branch or layout, tensors missing,
            unexpected, misshaped, not floating point or not finite, or a ResNet-18.
    """
    backbone = find_backbone(str(path), branch=branch, layout=layout, trust=trust, method=method, epoch=epoch)
    if backbone.arch != "resnet50":
        raise UserError(f"{path} holds a ResNet-18, and only a ResNet-50 becomes Detectron2 weights here.")
    return backbone.checkpoint


def find_backbone(
    word: str, *, branch: str, layout: str | None, trust: bool, method: str | None, epoch: int | None
) -> Backbone:
    """Read the one backbone that was asked for from a file or a published one; see ``convert_checkpoint``.

    With ``layout="detectron2"`` the user says that a detector that does not tell takes torchvision's kind of images.
    """
    published = locate(word)
    backbone = read_backbone(published.path if published else word, branch=branch, layout=layout, trust=trust)
    backbone = published_as(backbone, published) if published else backbone
    if backbone.convention is None and layout is not None:
        backbone = replace(backbone, convention=RGB)
    return with_statement(backbone, word, method, epoch)


def read_backbone(
    path: str | Path, *, branch: str = "online", layout: str | None = None, trust: bool = False
) -> Backbone:
    """Read the one backbone that was asked for, a ResNet-50 or a ResNet-18; see ``convert_checkpoint``."""
    path = Path(path)
    contents = read_file(path, trust=trust)
    check_architecture(contents, path)
    match = choose(contents, path, branch, layout)
    check_tensors(match, path, contents)
    return Backbone(tensors=match.candidate.examined.tensors, **provenance(contents, match, path))


def check_architecture(contents: Contents, path: Path) -> None:
    """Raise ``UserError`` if the file itself names a network that only looks like a ResNet."""
    named = stated_architecture(contents)
    does = lookalike(named) if named else None
    if does:
        raise UserError(
            f"{path} says that it holds a {named}, which has the names and shapes of a ResNet-50 but {does}; no "
            "detector here is built so."
        )


def check_tensors(match: Match, path: Path, contents: Contents) -> None:
    """Raise ``UserError`` with everything that is wrong unless the backbone has exactly a ResNet's tensors."""
    found = match.candidate.examined
    if found.faults:
        name = match.layout.name if match.layout else "unknown"
        raise UserError(
            f"{path} (layout {name}, under {match.candidate.title}) does not hold the "
            f"{len(expected_shapes(found.arch))} tensors of a {ARCHITECTURES[found.arch]} backbone: "
            f"{'; '.join(found.faults)}; it looks like {likeness(contents, match)}."
        )


def provenance(contents: Contents, match: Match, path: Path) -> dict[str, Any]:
    """Return the attributes of ``backbone.Provenance`` for a backbone found in a file."""
    sha256, published = hash_and_account(path)
    before = source_of_file(contents.content)
    if before is not None:
        known = provenance_of_source(before)
        known |= {"branch": match.branch, "sha256": known["sha256"] or sha256}
        return known | {"arch": match.candidate.examined.arch, "convention": stated_convention(contents, match)}
    return {
        "sha256": sha256,
        "layout": match.layout.name if match.layout else AT + match.candidate.address,
        "branch": match.branch,
        "arch": match.candidate.examined.arch,
        "dtype": precisions([match.candidate]),
        "convention": stated_convention(contents, match),
        **evidence(contents, match),
        **published,
    }


def precisions(candidates: list[Candidate]) -> str:
    """Return the precisions of the tensors, such as ``float16``."""
    return ", ".join(sorted({str(t.dtype).removeprefix("torch.") for c in candidates for t in c.tensors.values()}))


def write_converted(path: str | Path, content: dict[str, Any], *, overwrite: bool) -> bool:
    """Write a converted file atomically; False when these very bytes are there already.

    Raises ``UserError`` if something else is there and `overwrite` is False.
    """
    path, buffer = Path(path), io.BytesIO()
    torch.save(content, buffer)
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder; give --output the name of a file.")
        if path.exists() and not overwrite:
            if path.read_bytes() == buffer.getvalue():
                return False
            raise UserError(f"{path} holds something else; choose another --output or give --overwrite.")
        write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another --output.") from None
    return True
