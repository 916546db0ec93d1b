"""Finding the ResNets in a file's content, whole or not, and telling whose layout each is.

A file is flattened to (path, tensor) pairs. Wrappers (``module``, ``_orig_mod``: DDP and torch.compile, at any depth)
and plain containers (``state_dict``, ``model``) are cut from the path; what precedes the ResNet's own names is then
the backbone's *address*, which ``layouts.LAYOUTS`` knows.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from transfer.checkpoints.contents import Contents
from transfer.checkpoints.layouts import LAYOUTS, Layout
from transfer.checkpoints.namings import NAMINGS, Naming
from transfer.checkpoints.strictness import Examined, examine

WRAPPERS = ("module", "_orig_mod")
CONTAINERS = ("state_dict", "model", "model_state", "model_state_dict", "network", "net", "blobs")
# What may stand beside a ResNet: the heads of pre-training, the parts of detectors.
HEADS = re.compile(
    r"(stem\.)?fc\.|\w*(head|proj|pred|class|queue)|prototypes|neck|memory|fpn_|proposal_|anchor_|pixel_|res5\.norm"
)
OF_ONE_LAYOUT = {layout.naming for layout in LAYOUTS if layout.naming}  # namings that say whose file it is
FEWEST_TENSORS = 20  # under one address, to be called a backbone with tensors missing rather than something else


@dataclass(eq=False)
class Candidate:
    """A ResNet found in a file, whole or not.

    Attributes:
        address: what precedes its names, wrappers and containers cut; "" when they stand alone.
        container: the keys that lead to its dictionary, such as ``state_dict``.
        naming: how its tensors are called.
        tensors: torchvision's name -> tensor, as stored.
        foreign: names under the address that belong to a ResNet's body, but to no ResNet-50's.
        others: names under the address that belong to no known head either; harmless unless tensors are missing.
        again: further tensors that claim a name of ``tensors`` once the wrappers are cut.
        facts: see ``facts_of``; of its own ``in:`` (keys that hold it), ``raw:`` (address with wrappers), ``naming:``,
            ``own:`` (names under it that are not a ResNet's).
    """

    address: str
    container: str
    naming: Naming
    tensors: dict[str, Tensor] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    again: list[tuple[str, Tensor]] = field(default_factory=list)
    facts: set[str] = field(default_factory=set)

    @cached_property
    def examined(self) -> Examined:
        """What keeps the candidate from being a ResNet's tensors, and these in float32 where nothing does."""
        return examine(self.tensors, self.again, self.foreign, self.others, self.naming)

    @property
    def title(self) -> str:
        """Say where it is, for people."""
        return f"'{self.address}.'" if self.address else "the top level"


@dataclass(frozen=True)
class Match:
    """A candidate and whose it is: `layout` and `branch` are None for an address that no layout has."""

    candidate: Candidate
    layout: Layout | None
    branch: str | None


def unwrapped_name(path: tuple[str, ...]) -> str:
    """Return the dotted name of a path of keys without wrappers anywhere and containers in front; may be empty."""
    parts = [part for key in path for part in key.split(".") if part not in WRAPPERS]
    while len(parts) > 1 and parts[0] in CONTAINERS:
        parts.pop(0)
    if parts[:1] == ["classy_state_dict"]:
        parts = [part for part in parts if part not in CONTAINERS]
    return ".".join(parts)


def find_candidates(contents: Contents) -> list[Candidate]:
    """Return the ResNets in a file, whole or not, largest first."""
    found: dict[tuple[str, str, str], Candidate] = {}
    names: dict[tuple[str, str, str] | None, list[str]] = {None: []}  # of each address; None: of no ResNet's tensors
    for path, tensor in contents.tensors:
        name = unwrapped_name(path)
        for naming in NAMINGS:
            split = naming.split(name)
            if split:
                address, own = split
                container = ".".join(path[:-1])
                key = (address, container, naming.name)
                candidate = found.setdefault(key, Candidate(address, container, naming))
                names.setdefault(key, []).append(name)
                _add(candidate, own, name, tensor)
                candidate.facts |= {"in:" + part for part in path[:-1]} | {"raw:" + _before(path[-1], own)}
                break
        else:
            names[None].append(name)
    candidates = [candidate for candidate in found.values() if len(candidate.tensors) >= FEWEST_TENSORS]
    for key, candidate in found.items():
        if len(candidate.tensors) < FEWEST_TENSORS:
            names[None] += names[key]
    facts = facts_of(contents)
    for candidate in candidates:
        _sort_neighbours(candidate, names[None], candidates)
        candidate.facts |= facts | {"naming:" + candidate.naming.name}
    return sorted(candidates, key=lambda candidate: -len(candidate.tensors))


def _before(key: str, own: str) -> str:
    return key.removesuffix(own).rstrip(".")


def _add(candidate: Candidate, own: str, name: str, tensor: Tensor) -> None:
    if own.endswith("num_batches_tracked"):
        return
    if not candidate.naming.knows(own):
        candidate.foreign.append(name)
        return
    known = candidate.naming.to_torchvision(own)
    if known in candidate.tensors:
        candidate.again.append((known, tensor))
    else:
        candidate.tensors[known] = tensor


def _sort_neighbours(candidate: Candidate, names: list[str], candidates: list[Candidate]) -> None:
    """Sort the names that no ResNet-50 has, where they stand under a candidate's address, into foreign and others."""
    start = f"{candidate.address}." if candidate.address else ""
    own = [(name, candidate.naming.bare(name.removeprefix(start))) for name in names if name.startswith(start)]
    foreign = [name for name, bare in own if candidate.naming.is_body(bare)]
    elsewhere = tuple(f"{other.address}." for other in candidates if len(other.address) > len(candidate.address))
    beside = [(name, bare) for name, bare in own if not candidate.naming.is_body(bare)]
    candidate.others = [name for name, bare in beside if not HEADS.match(bare) and not name.startswith(elsewhere)]
    candidate.foreign += foreign
    candidate.facts |= {"own:" + bare for _, bare in beside}


def facts_of(contents: Contents) -> set[str]:
    """Return what tells layouts apart: ``key:`` top-level keys, ``metadata:`` keys, ``root:`` first parts of names.

    ``roots:`` lists all first parts, in order and joined by commas.
    """
    keys = contents.content.keys() if isinstance(contents.content, Mapping) else ()
    facts = {f"key:{key}" for key in keys if isinstance(key, str)} | {f"metadata:{key}" for key in contents.metadata}
    roots = {unwrapped_name(path).split(".")[0] for path, _ in contents.tensors}
    return facts | {f"root:{root}" for root in roots} | {"roots:" + ",".join(sorted(roots))}


def identify(candidate: Candidate) -> Match:
    """Tell layout and branch of a candidate by its address; among equal addresses the layout with most signs wins."""
    fitting = []
    for layout in LAYOUTS:
        branch = branch_of(candidate, layout)
        if branch and recognised(layout, candidate.facts):
            fitting.append((len({*layout.signs, *layout.needs} & candidate.facts), branch, layout))
    if not fitting:
        return Match(candidate, None, None)
    _, branch, layout = max(fitting, key=lambda fit: fit[0])
    return Match(candidate, layout, branch)


def recognised(layout: Layout, facts: set[str]) -> bool:
    """Say whether a file shows the facts without which nothing is this layout's."""
    return facts.issuperset(layout.needs) and (not layout.any_of or bool(facts & set(layout.any_of)))


def branch_of(candidate: Candidate, layout: Layout) -> str | None:
    """Return the branch that a candidate at this address is in this layout, or None."""
    if (layout.naming or candidate.naming.name) != candidate.naming.name:
        return None
    if layout.naming is None and candidate.naming.name in OF_ONE_LAYOUT:
        return None
    if layout.online is not None and re.fullmatch(layout.online, candidate.address):
        return "online"
    return "momentum" if layout.momentum and re.fullmatch(layout.momentum, candidate.address) else None
