"""Every word that ``--weights`` understands, for detectors and for classification alike.

``FILE`` | ``random`` | ``detectron2-random`` | ``torchvision:FILE`` | ``msra:FILE``, and what is published:
``zoo:NAME`` | ``hf:REPO[/FILE]`` | ``https://...`` | ``torchvision:IMAGENET1K_V2``.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.catalogue.obtain import Obtained
from benchmark.core.errors import UserError, nearest
from benchmark.core.files import sha256_of, sha256_of_file
from pretrain.networks.encoder import untrained_backbone
from transfer.checkpoints.backbone import USER, Backbone, Detector
from transfer.checkpoints.convention import MSRA_BGR, RGB
from transfer.checkpoints.conversion import read_backbone
from transfer.checkpoints.evidence import convention_of_detector
from transfer.checkpoints.reading import read_file
from transfer.checkpoints.resnet import expected_shapes
from transfer.checkpoints.sources import locate, published_as, refuse_statement, with_statement

RANDOM, DETECTRON2_RANDOM = "random", "detectron2-random"
TORCHVISION, MSRA = "torchvision:", "msra:"


def resolve_weights(
    word: str,
    *,
    branch: str = "online",
    layout: str | None = None,
    trust: bool = False,
    seed: int = 0,
    arch: str = "resnet50",
    method: str | None = None,
    epoch: int | None = None,
) -> Backbone:
    """Read what ``--weights`` names.

    Args:
        word: ``FILE`` (any checkpoint that convert.py reads), ``random`` (the untrained encoder that pre-training with
            `seed` starts from, like a checkpoint of 0 epochs), ``detectron2-random`` (Detectron2's own),
            ``torchvision:FILE`` (supervised, torchvision's), ``msra:FILE`` (supervised, Detectron2's ``R-50.pkl``), or
            a published file, which is downloaded once: ``zoo:NAME`` (``python benchmark/zoo.py``),
            ``hf:OWNER/NAME[/FILE]``, ``https://...``, ``torchvision:IMAGENET1K_V1`` or ``_V2``.
        branch, layout, trust: as for ``conversion.read_backbone``.
        seed, arch: of ``random``.
        method, epoch: what the user states of a file that says nothing (``--method``, ``--epochs-stated``).

    Returns:
        The backbone with its input convention and with who says what its method and epochs are.

    Raises:
        UserError: see ``conversion.convert_checkpoint``; a file for ``msra:`` that is none of MSRA's; a published file
            that is not there or is another one; a statement that contradicts what is known.
        RunFailed: a download failed; the same command goes on from there.
    """
    published = locate(word)
    if published is not None:
        return with_statement(_published(published, branch, layout, trust), word, method, epoch)
    if word in (RANDOM, DETECTRON2_RANDOM) or word.startswith((MSRA, TORCHVISION)):
        refuse_statement(word, method, epoch)
    if word == RANDOM:
        return _untrained(arch, seed)
    if word == DETECTRON2_RANDOM:
        return _of_family(word, RGB, sha256_of([word]), method=word, epoch=0)
    if word.startswith(MSRA):
        return _msra(Path(word.removeprefix(MSRA)))
    if word.startswith(TORCHVISION):
        found = _file(word.removeprefix(TORCHVISION), "online", layout, trust)
        if found.layout not in ("torchvision", "detectron2"):
            raise UserError(f"{word} is no supervised file of torchvision but {found.layout}; leave torchvision: out.")
        return _supervised_by_torchvision(found)
    if not Path(word).exists() and "/" not in word and "." not in word:
        known = (RANDOM, DETECTRON2_RANDOM)
        raise UserError(f"--weights {word!r} is neither a file nor a known initialisation{nearest(word, known)}")
    return with_statement(_file(word, branch, layout, trust), word, method, epoch)


def _published(obtained: Obtained, branch: str, layout: str | None, trust: bool) -> Backbone:
    """Read a published file; what the catalogue says of its name holds for a file taken out of an archive too."""
    entry, path = obtained.entry, obtained.path
    if entry is not None and entry.layout == "msra":
        return published_as(_msra(path), obtained)
    found = published_as(_file(str(path), branch, layout, trust), obtained)
    if entry is not None and entry.method == "supervised-torchvision":
        return _supervised_by_torchvision(found)
    return found


def _supervised_by_torchvision(found: Backbone) -> Backbone:
    method_from = found.method_from if found.zoo else USER
    return replace(found, family="torchvision", method="supervised-torchvision", method_from=method_from)


def _file(path: str, branch: str, layout: str | None, trust: bool) -> Backbone:
    found = read_backbone(path, branch=branch, layout=layout, trust=trust)
    if found.convention is None and layout is None:
        raise UserError(
            f"{path} is a detector of Detectron2 that does not say how it takes its images; write --layout detectron2 "
            f"if it takes torchvision's kind (RGB), or msra:{path} if MSRA's (BGR, Detectron2's default)."
        )
    return replace(found, convention=found.convention or RGB)


def _of_family(family: str, convention: Any, sha256: str, **known: Any) -> Backbone:
    """Return a backbone that no file of pre-training holds; without `tensors` it loads nothing."""
    known = {"tensors": None, "layout": family, "method_from": known.get("method") and USER} | known
    return Backbone(family=family, convention=convention, sha256=sha256, **known)


def _untrained(arch: str, seed: int) -> Backbone:
    state = untrained_backbone(arch, seed)
    tensors = {name: state[name] for name in expected_shapes(arch)}
    sha256 = sha256_of([RANDOM, arch, seed])
    return _of_family(RANDOM, RGB, sha256, tensors=tensors, arch=arch, method=RANDOM, epoch=0, seed=seed)


def _msra(path: Path) -> Backbone:
    found = read_backbone(path)
    if found.layout == "msra":
        method_from = found.method_from if found.zoo else USER
        return replace(found, family="msra", method="supervised-msra", method_from=method_from, branch=None)
    if found.layout == "detectron2" and found.convention in (None, MSRA_BGR):
        return replace(found, family="msra", convention=MSRA_BGR)
    raise UserError(f"{path} is neither MSRA's R-50.pkl nor a detector trained from it; give it without msra:.")


def resolve_detector(path: str, *, trust: bool = False) -> Detector:
    """Read a whole detector for evaluation: one of ours (``model_final.pth``), or any in Detectron2's format.

    How it wants its images is found as for initial weights (``evidence.convention_of_detector``); a detector that says
    nothing is taken to want RGB (``KEY VALUE`` overrides change that).

    Raises:
        UserError: unreadable, unsafe, or without a ``model``.
    """
    published = locate(path)
    path = path if published is None else str(published.path)
    contents = read_file(path, trust=trust)
    content = contents.content
    if not isinstance(content, Mapping) or not isinstance(content.get("model"), Mapping):
        raise UserError(f"{path} is no detector: it has no 'model'; give the model_final.pth of a fine-tuning run.")
    stated = content.get("detector")
    stated = stated if isinstance(stated, Mapping) else {}
    family = str(stated.get("family", "checkpoint"))
    about = {key: stated.get(key) for key in ("method", "epoch", "total_epochs", "branch", "layout")}
    convention = convention_of_detector(contents) or RGB
    return Detector(
        checkpoint=dict(content), family=family, convention=convention, sha256=sha256_of_file(path), **about
    )
