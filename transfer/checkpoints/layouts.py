"""The checkpoint layouts in the wild: where each keeps the backbone, and how to recognise it.

A file is flattened to (path, tensor) pairs. Wrappers (``module``, ``_orig_mod``: DDP and torch.compile, at any depth)
and plain containers (``state_dict``, ``model``) are cut from the path; what precedes the ResNet's own names is then
the backbone's *address*, such as ``encoder_q`` or ``teacher.backbone``. ``LAYOUTS`` says whose address that is.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transfer.checkpoints.resnet import NAMINGS, Naming

WRAPPERS = ("module", "_orig_mod")
CONTAINERS = ("state_dict", "model", "model_state", "model_state_dict", "network", "net")
NOT_A_MODEL = re.compile(r"optim|scheduler|scaler|^rng|^callbacks$|^meters$")
DEEPEST = 12  # containers within containers; a pickle may hold itself
# What may stand beside a ResNet: the heads of pre-training, the parts of detectors.
HEADS = re.compile(
    r"fc\.|\w*(head|proj|pred|class|queue)|prototypes|neck|memory|fpn_|proposal_|anchor_|pixel_|res5\.norm"
)
FEWEST_TENSORS = 20  # under one address, to be called a backbone with tensors missing rather than something else


@dataclass(frozen=True)
class Layout:
    """One source of checkpoints.

    Attributes:
        name: of ``--layout``.
        source: for people.
        online, momentum: regular expressions of the two branches' addresses; None where there is no such branch.
        signs: facts (see ``facts_of``) that tell it from others with the same addresses; the most signs win.
        method: the pre-training method, where the layout belongs to one.
        epoch: where the number of *completed* epochs stands, and what to add to it; None where it is not recorded
            or not defined. Lightning's own ``epoch`` is 0-based or 1-based with its version, so its progress counter
            is read.
        total: where the planned number of epochs stands, the first that exists.
        naming: of the tensors, where the layout has one of its own.
        needs_sign: whether its address alone is not enough, because others use it too.
    """

    name: str
    source: str
    online: str
    momentum: str | None = None
    signs: tuple[str, ...] = ()
    method: str | None = None
    epoch: tuple[str, int] | None = None
    total: tuple[str, ...] = ()
    naming: str | None = None
    needs_sign: bool = False


_LIGHTNING_EPOCH = ("loops.fit_loop.epoch_progress.current.processed", 0)
_LIGHTNING_TOTAL = ("hyper_parameters.max_epochs", "hyper_parameters.epochs")
_LIGHTLY_SIGNS = ("in:state_dict", "key:pytorch-lightning_version", "root:projection_head", "naming:numbered")
_AVERAGED = r"(state_dict_ema|model_ema|ema)"

LAYOUTS = (
    Layout(
        "pretrain", "our pretrain/run.py", "encoder", "momentum_encoder",
        signs=("key:format_version", "key:rng", "root:momentum_projector"), epoch=("epoch", 0), total=("total_epochs",),
        needs_sign=True,
    ),
    Layout(
        "pretrain-backbone", "our backbone.safetensors", "", signs=("metadata:branch", "metadata:total_epochs"),
        needs_sign=True,
    ),
    Layout("torchvision", "torchvision, timm, Barlow Twins / VICReg resnet50.pth, DINO backbone", "", _AVERAGED),
    Layout(
        "swav", "SwAV", "", signs=("root:projection_head", "root:prototypes"), method="swav", epoch=("epoch", 0),
    ),
    Layout("moco", "MoCo v1 / v2", "encoder_q", "encoder_k", method="moco", epoch=("epoch", 0)),
    Layout(
        "mocov3", "MoCo v3", "base_encoder", "momentum_encoder", signs=("root:base_encoder",), method="mocov3",
        epoch=("epoch", 0), needs_sign=True,
    ),
    Layout("simsiam", "SimSiam, MEC, Matrix-SSL", "encoder", "teacher", epoch=("epoch", 0), signs=("in:state_dict",)),
    Layout(
        "pycontrast", "PyContrast / InfoMin", "encoder", r"model_ema(\.encoder)?", signs=("in:model", "key:opt"),
        epoch=("epoch", 0), total=("opt.epochs",),
    ),
    Layout(
        "dino", "DINO", r"student(\.backbone)?", r"teacher(\.backbone)?", method="dino", epoch=("epoch", 0),
        total=("args.epochs",),
    ),
    Layout(
        "solo-learn", "solo-learn (Lightning)", "backbone|encoder", "momentum_backbone|momentum_encoder",
        signs=("in:state_dict", "key:pytorch-lightning_version", "root:momentum_backbone", "root:classifier"),
        epoch=_LIGHTNING_EPOCH, total=_LIGHTNING_TOTAL,
    ),
    Layout(
        "barlow-twins", "Barlow Twins, VICReg", "backbone", signs=("in:model", "raw:module.backbone"),
        epoch=("epoch", 0),
    ),
    Layout(
        "lightly", "lightly (Lightning)", "backbone|student_backbone", "backbone_momentum|teacher_backbone",
        signs=(*_LIGHTLY_SIGNS, "root:backbone_momentum", "root:teacher_backbone"),
        epoch=_LIGHTNING_EPOCH, total=_LIGHTNING_TOTAL,
    ),
    # Its ImageNet benchmarks of MoCo v2, DINO and TiCo call the averaged encoder ``backbone``.
    Layout(
        "lightly-averaged", "lightly's MoCo v2, DINO and TiCo benchmarks", "query_backbone|student_backbone",
        "backbone",
        signs=(*_LIGHTLY_SIGNS, "root:query_backbone", "root:student_backbone"),
        epoch=_LIGHTNING_EPOCH, total=_LIGHTNING_TOTAL, needs_sign=True,
    ),
    Layout(
        "mmselfsup", "MMSelfSup / OpenSelfSup", r"backbone|encoder_q\.0|online_net\.0",
        r"encoder_k\.0|target_net\.0",
        signs=("in:state_dict", "key:meta", "root:neck", "root:head"), epoch=("meta.epoch", 0),
    ),
    Layout(
        "vissl", "VISSL", r"(?!(.*\.)?moco_encoder\.)(.*\.)?_feature_blocks",
        r"(.*\.)?moco_encoder\.(.*\.)?_feature_blocks",
        signs=("key:classy_state_dict",), epoch=("train_phase_idx", 1),
    ),
    Layout("detectron2", "Detectron2, or a file of this converter", "", naming="detectron2", signs=("key:__author__",)),
)  # fmt: skip
BY_NAME = {layout.name: layout for layout in LAYOUTS}


@dataclass(eq=False)
class Backbone:
    """A ResNet found in a file, whole or not.

    Attributes:
        address: what precedes its names, wrappers and containers cut; "" when they stand alone.
        container: the keys that lead to its dictionary, such as ``state_dict``.
        naming: how its tensors are called.
        tensors: torchvision's name -> tensor, as stored.
        strange: names under the address that belong to a ResNet's body, but to no ResNet-50's.
        others: names under the address that belong to no known head either; harmless unless tensors are missing.
        collisions: names that two different tensors claim once the wrappers are cut.
        facts: see ``facts_of``.
        layout, branch: filled by ``identify``; None for an address that no layout has.
    """

    address: str
    container: str
    naming: Naming
    tensors: dict[str, Tensor] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    collisions: list[str] = field(default_factory=list)
    facts: set[str] = field(default_factory=set)
    layout: Layout | None = None
    branch: str | None = None

    @property
    def title(self) -> str:
        """Say where it is, for people."""
        return f"'{self.address}.'" if self.address else "the top level"


def walk(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Yield every tensor (or numpy array, as tensor) of nested dictionaries and modules with its path of keys.

    Optimiser states and the like are passed over: they hold tensors under a model's names, but not the model.
    """
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if isinstance(content, dict) and len(path) < DEEPEST:  # other mappings (OmegaConf's) hold settings, and may raise
        for key, value in content.items():
            if isinstance(key, str) and not (not path and NOT_A_MODEL.search(key)):
                yield from walk(value, (*path, key))
    elif isinstance(content, Tensor):
        yield path, content if content.layout is torch.strided else content.to_dense()
    elif isinstance(content, np.ndarray) and content.dtype.kind in "fiu":
        yield path, torch.from_numpy(np.ascontiguousarray(content))


def normalised(path: tuple[str, ...]) -> str:
    """Return the dotted name of a path of keys without wrappers anywhere and containers in front; may be empty."""
    parts = [part for key in path for part in key.split(".") if part not in WRAPPERS]
    while len(parts) > 1 and parts[0] in CONTAINERS:
        parts.pop(0)
    if parts[:1] == ["classy_state_dict"]:
        parts = [part for part in parts if part not in CONTAINERS]
    return ".".join(parts)


def find_backbones(content: Any, metadata: Mapping[str, str]) -> list[Backbone]:
    """Return the ResNets in a file's content, identified where a layout has their address, largest first."""
    found: dict[tuple[str, str, str], Backbone] = {}
    names: dict[tuple[str, str, str] | None, list[str]] = {None: []}  # of each address; None: of no ResNet's tensors
    for path, tensor in walk(content):
        name = normalised(path)
        for naming in NAMINGS:
            split = naming.split(name)
            if split:
                address, own = split
                container = ".".join(path[:-1])
                key = (address, container, naming.name)
                backbone = found.setdefault(key, Backbone(address, container, naming))
                names.setdefault(key, []).append(name)
                _add(backbone, own, name, tensor)
                backbone.facts |= {"in:" + part for part in path[:-1]} | {"raw:" + _before(path[-1], own)}
                break
        else:
            names[None].append(name)
    backbones = [backbone for backbone in found.values() if len(backbone.tensors) >= FEWEST_TENSORS]
    for key, backbone in found.items():
        if backbone not in backbones:
            names[None] += names[key]
    facts = facts_of(content, metadata)
    for backbone in backbones:
        start = f"{backbone.address}." if backbone.address else ""
        own = [(name, backbone.naming.bare(name.removeprefix(start))) for name in names[None] if name.startswith(start)]
        backbone.strange += [name for name, bare in own if backbone.naming.is_body(bare)]
        elsewhere = tuple(f"{other.address}." for other in backbones if len(other.address) > len(backbone.address))
        backbone.others = [
            name
            for name, bare in own
            if name not in backbone.strange and not HEADS.match(bare) and not name.startswith(elsewhere)
        ]
        backbone.facts |= facts | {"naming:" + backbone.naming.name}
        identify(backbone)
    return sorted(backbones, key=lambda backbone: -len(backbone.tensors))


def _before(key: str, own: str) -> str:
    return key.removesuffix(own).rstrip(".")


def _add(backbone: Backbone, own: str, name: str, tensor: Tensor) -> None:
    if own.endswith("num_batches_tracked"):
        return
    if not backbone.naming.knows(own):
        backbone.strange.append(name)
        return
    known = backbone.naming.to_torchvision(own)
    if known in backbone.tensors and not _same(backbone.tensors[known], tensor):
        backbone.collisions.append(known)
    backbone.tensors[known] = tensor


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first.float(), second.float())


def facts_of(content: Any, metadata: Mapping[str, str]) -> set[str]:
    """Return what tells layouts apart: ``key:`` top-level keys, ``root:`` first parts of names, ``metadata:`` keys."""
    keys = content.keys() if isinstance(content, Mapping) else ()
    facts = {f"key:{key}" for key in keys} | {f"metadata:{key}" for key in metadata}
    return facts | {"root:" + normalised(path).split(".")[0] for path, _ in walk(content)}


def identify(backbone: Backbone) -> None:
    """Fill layout and branch of a backbone from its address; among equal addresses the layout with most signs wins."""
    fitting = []
    for layout in LAYOUTS:
        branch = branch_of(backbone, layout)
        if branch:
            score = len(set(layout.signs) & backbone.facts)
            if score or not layout.needs_sign:
                fitting.append((score, branch, layout))
    if fitting:
        _, backbone.branch, backbone.layout = max(fitting, key=lambda fit: fit[0])


def branch_of(backbone: Backbone, layout: Layout) -> str | None:
    """Return the branch that a backbone at this address is in this layout, or None."""
    if (layout.naming or backbone.naming.name) != backbone.naming.name:
        return None
    if layout.naming is None and backbone.naming.name == "detectron2":
        return None
    if re.fullmatch(layout.online, backbone.address):
        return "online"
    return "momentum" if layout.momentum and re.fullmatch(layout.momentum, backbone.address) else None


def lookup(content: Any, path: str) -> Any:
    """Return the value at a dotted path of keys or attributes (``args.epochs``), or None where there is none."""
    try:
        for part in path.split("."):
            content = content.get(part) if isinstance(content, Mapping) else getattr(content, part, None)
    except Exception:  # a trusted file's own classes may raise anything; OmegaConf does for what is missing
        return None
    return content
