"""What a file says of itself: method, epochs, seed. Nothing is guessed, and nothing is read from a file's name."""

from collections.abc import Mapping
from typing import Any

from transfer.checkpoints.backbone import FILE
from transfer.checkpoints.contents import Contents
from transfer.checkpoints.convention import CONVENTIONS, MSRA_BGR, RGB, UNIT, InputConvention
from transfer.checkpoints.detectron2_form import source_of_file
from transfer.checkpoints.finding import Match
from transfer.checkpoints.layouts import LIGHTNING, LIGHTNING_EPOCH, Layout
from transfer.checkpoints.signatures import method_by_signs, spelled

MODEL_ZOO = "Detectron2 Model Zoo"  # the author of Detectron2's own detectors, all of them trained from MSRA's weights
# Where the options of a training stand that name its method: Lightning's hyper-parameters, PyContrast's options.
METHOD_OPTIONS = {"solo-learn": "hyper_parameters.method", "lightly": "hyper_parameters.method"}
METHOD_OPTIONS |= {"pycontrast": "opt.method", "lightly-train": "hyper_parameters.method"}


def evidence(contents: Contents, match: Match) -> dict[str, Any]:
    """Return the attributes of ``backbone.Provenance`` that the file tells: method, epochs, seed, and by what."""
    layout, content = match.layout, contents.content
    if layout is None:
        return {}
    facts = match.candidate.facts
    account = contents.metadata if layout.name == "pretrain-backbone" else content
    method, by_method = _method(layout, account, facts)
    epoch, by_epoch = _epoch(layout, account, facts)
    totals = [whole(lookup(account, where)) for where in layout.total]
    return {
        "method": method,
        "method_from": FILE if method else None,
        "epoch": epoch,
        "total_epochs": next((total for total in totals if total is not None), None),
        "epochs_from": None if epoch is None else FILE,
        "seed": whole(lookup(account, "seed" if account is contents.metadata else "config.seed")),
        "evidence": "; ".join(filter(None, (by_method, by_epoch))) or None,
    }


def _method(layout: Layout, account: Any, facts: set[str]) -> tuple[str | None, str | None]:
    """Return the method and what tells it: our own account, the training's options, or the signs of its network."""
    if layout.name.startswith("pretrain"):
        return _text(lookup(account, "method")), None
    where = METHOD_OPTIONS.get(layout.name, "")
    named = _text(lookup(account, where)) if where else None
    if named:
        return spelled(named), f"method by `{where}`"
    method = method_by_signs(layout.name, facts)
    return method, method and "method by the parts of its network"


def _epoch(layout: Layout, account: Any, facts: set[str]) -> tuple[int | None, str | None]:
    """Return the completed epochs and where the file says them."""
    if layout.epoch is None:
        return None, None
    where, ahead = layout.epoch
    if LIGHTNING in facts:
        where, ahead = LIGHTNING_EPOCH, 0
    epoch = whole(lookup(account, where))
    if epoch is None:
        return None, None
    return epoch + ahead, f"epochs by `{where}`" + (f" + {ahead}" if ahead else "")


def stated_architecture(contents: Contents) -> str | None:
    """Return the architecture that the file says it holds (``arch``, or the options of its training), if it does."""
    names = (_text(lookup(contents.content, where)) for where in ("arch", "args.model", "args.arch", "opt.arch"))
    return next((name for name in names if name), None)


def stated_convention(contents: Contents, match: Match) -> InputConvention | None:
    """Return how the backbone takes its images, as far as the file tells; None for a detector that says nothing.

    Caffe2's names mean MSRA's kind, SimCLRv2's own names images from 0 to 1, all others torchvision's kind. Under
    Detectron2's names it follows, in this order, from what an earlier conversion or one of our detectors says, from the
    ``pixel_std`` that some detectors carry, from the author (Detectron2's zoo is MSRA's), and from names without a
    detector's prefix: those are the files of converters, which take torchvision's kind of input.
    """
    naming = match.candidate.naming.name
    if naming == "detectron2":
        return convention_of_detector(contents)
    return {"caffe2": MSRA_BGR, "simclrv2": UNIT}.get(naming, RGB)


def convention_of_detector(contents: Contents) -> InputConvention | None:
    """Return how what stands under Detectron2's names takes its images; see ``stated_convention``."""
    content = contents.content
    said = source_of_file(content)
    if said is not None:
        return CONVENTIONS.get(str(said.get("input")), RGB)
    family = lookup(content, "detector.family")
    if isinstance(family, str):
        return MSRA_BGR if family == "msra" else RGB
    names = {path[-1]: tensor for path, tensor in contents.tensors if path}
    std = names.get("pixel_std")
    if std is not None and std.numel() == 3 and not std.is_meta:
        return MSRA_BGR if bool((std == 1).all()) else RGB
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
