"""What a file says of itself: method, epochs, seed. Nothing is guessed, and nothing is read from a file's name."""

from collections.abc import Mapping
from typing import Any

from transfer.checkpoints.backbone import FILE
from transfer.checkpoints.convention import CONVENTIONS, MSRA_BGR, RGB, InputConvention
from transfer.checkpoints.detectron2_form import source_of_file
from transfer.checkpoints.finding import Match, walk
from transfer.checkpoints.reading import Contents

MODEL_ZOO = "Detectron2 Model Zoo"  # the author of Detectron2's own detectors, all of them trained from MSRA's weights
NAMES_ITS_METHOD = ("solo-learn", "lightly")  # as ``hyper_parameters.method``


def evidence(contents: Contents, match: Match) -> dict[str, Any]:
    """Return the attributes of ``backbone.Provenance`` that the file tells: method, epochs, seed, and by what."""
    layout, content = match.layout, contents.content
    if layout is None:
        return {}
    if layout.name == "pretrain-backbone":
        numbers = {key: whole(contents.metadata.get(key)) for key in ("epoch", "total_epochs", "seed")}
        return _with_account({"method": contents.metadata.get("method"), **numbers})
    found: dict[str, Any] = {"method": layout.method}
    if layout.name == "pretrain":
        found = {"method": _text(lookup(content, "method")), "seed": whole(lookup(content, "config.seed"))}
    elif layout.name in NAMES_ITS_METHOD:
        found["method"] = _text(lookup(content, "hyper_parameters.method"))
    if layout.epoch:
        where, ahead = layout.epoch
        epoch = whole(lookup(content, where))
        found["epoch"] = None if epoch is None else epoch + ahead
    totals = [whole(lookup(content, where)) for where in layout.total]
    return _with_account(found | {"total_epochs": next((total for total in totals if total is not None), None)})


def _with_account(found: dict[str, Any]) -> dict[str, Any]:
    method = FILE if found.get("method") is not None else None
    epochs = FILE if found.get("epoch") is not None else None
    return found | {"method_from": method, "epochs_from": epochs}


def told_convention(contents: Contents, match: Match) -> InputConvention | None:
    """Return how the backbone takes its images, as far as the file tells; None for a detector that says nothing.

    Under Detectron2's names that is, in this order: what an earlier conversion or one of our detectors says, the
    ``pixel_std`` that some detectors carry, the author (Detectron2's zoo is MSRA's), and names without a detector's
    prefix: those are the files of converters, which take torchvision's kind of input.
    """
    content, naming = contents.content, match.candidate.naming.name
    if naming == "caffe2":
        return MSRA_BGR
    if naming != "detectron2":
        return RGB
    said = source_of_file(content)
    if said is not None:
        return CONVENTIONS.get(str(said.get("input")), RGB)
    family = lookup(content, "detector.family")
    if isinstance(family, str):
        return MSRA_BGR if family == "msra" else RGB
    names = {path[-1]: tensor for path, tensor in walk(content)}
    if "pixel_std" in names:
        return MSRA_BGR if bool((names["pixel_std"] == 1).all()) else RGB
    if lookup(content, "__author__") == MODEL_ZOO:
        return MSRA_BGR
    return RGB if any(name.startswith("stem.") for name in names) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def whole(value: Any) -> int | None:
    """Return a count in a file from elsewhere as a plain int, or None for all else (Lightning's -1: no limit)."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return int(value) if float(value) == int(value) >= 0 else None
    except (TypeError, ValueError, OverflowError):
        return None


def lookup(content: Any, path: str) -> Any:
    """Return the value at a dotted path of keys or attributes (``args.epochs``), or None where there is none."""
    try:
        for part in path.split("."):
            content = content.get(part) if isinstance(content, Mapping) else getattr(content, part, None)
    except Exception:  # a trusted file's own classes may raise anything; OmegaConf does for what is missing
        return None
    return content
