"""Choosing the one backbone of a file that was asked for, or saying which choices there are."""

from pathlib import Path

import torch

from benchmark.core.errors import UserError, nearest
from transfer.checkpoints.contents import Contents
from transfer.checkpoints.detectron2_form import source_of_file
from transfer.checkpoints.finding import Candidate, Match, branch_of, find_candidates, identify, unwrapped_name
from transfer.checkpoints.layouts import BY_NAME
from transfer.checkpoints.likeness import looks_like

AT = "at:"  # --layout at:ADDRESS takes the backbone at an address that no layout has
BRANCHES = ("online", "momentum")


def choose(contents: Contents, path: Path, branch: str, layout: str | None) -> Match:
    """Return the one backbone of a file that was asked for, whole or not; its branch is the one asked for.

    Raises:
        UserError: no backbone, several, none in this branch or layout; with the choices there are.
    """
    found = find_candidates(contents)
    if not found:
        raise UserError(f"{path} holds no ResNet-50: it looks like {likeness(contents)}.")
    wanted = _forced(found, path, layout) if layout else [match for match in map(identify, found) if match.layout]
    if not wanted and all(candidate.examined.faults for candidate in found):
        where = ", ".join(candidate.title for candidate in found)
        raise UserError(f"{path} holds no whole ResNet-50: what is under {where} looks like {likeness(contents)}.")
    if not wanted:
        raise UserError(
            f"{path} holds {'a backbone' if len(found) == 1 else 'backbones'} where no known layout has one, under "
            f"{', '.join(c.title for c in found)}; if that is the {branch} branch, choose by "
            f"{_choices([Match(c, None, None) for c in found])}."
        )
    said = [Match(m.candidate, m.layout, said_branch(m, contents) or branch) for m in wanted]
    fitting = [match for match in said if match.branch == branch]
    if not fitting:
        has = ", ".join(sorted({f"{m.branch} ({m.candidate.title})" for m in said}))
        raise UserError(f"{path} has no {branch} branch; it has {has}: choose that by --branch.")
    whole = [match for match in fitting if not match.candidate.examined.faults]
    left = whole or fitting
    if len(left) > 1 and not (whole and _all_equal([match.candidate for match in whole])):
        raise UserError(f"{path} holds {len(left)} backbones for the {branch} branch; choose by {_choices(left)}.")
    return left[0]


def _forced(found: list[Candidate], path: Path, layout: str) -> list[Match]:
    """Return the candidates as --layout takes them. Raises ``UserError`` if there is none."""
    if layout.startswith(AT):
        place = layout.removeprefix(AT)
        wanted = [Match(c, None, None) for c in found if place in (c.address, f"{c.container}/{c.address}")]
    elif layout not in BY_NAME:
        raise UserError(
            f"--layout has no value {layout!r}{nearest(layout, BY_NAME)} It is {', '.join(BY_NAME)} or at:ADDRESS."
        )
    else:
        branches = [(candidate, branch_of(candidate, BY_NAME[layout])) for candidate in found]
        wanted = [Match(candidate, BY_NAME[layout], branch) for candidate, branch in branches if branch]
    if not wanted:
        matches = map(identify, found)
        has = ", ".join(f"{m.layout.name if m.layout else 'unknown'} ({m.candidate.title})" for m in matches)
        raise UserError(f"{path} has no backbone where --layout {layout} keeps it; it has: {has}.")
    return wanted


def said_branch(match: Match, contents: Contents) -> str | None:
    """Return a match's branch by the file's own word or by its address; None for an address that no layout has."""
    if match.layout is None:
        return None
    said = contents.metadata.get("branch") or (source_of_file(contents.content) or {}).get("branch")
    return said if said in BRANCHES else match.branch


def _choices(matches: list[Match]) -> str:
    """List the values of --layout that tell backbones apart."""
    names = [match.layout.name for match in matches if match.layout]
    if len(names) == len(matches) == len(set(names)):
        return " or ".join(f"--layout {name}" for name in names)
    addresses = [match.candidate.address for match in matches]
    if len(addresses) > len(set(addresses)):
        addresses = [f"{match.candidate.container}/{match.candidate.address}" for match in matches]
    return " or ".join(f"--layout {AT}{address}" for address in addresses)


def _all_equal(candidates: list[Candidate]) -> bool:
    """Say whether whole candidates hold the same values."""
    first, *others = (candidate.examined.tensors for candidate in candidates)
    return all(
        other.keys() == first.keys() and all(torch.equal(first[name], other[name]) for name in first)
        for other in others
    )


def likeness(contents: Contents, match: Match | None = None) -> str:
    """Say what a file's tensors look like, or those under one backbone's address."""
    shapes = {unwrapped_name(names): tuple(tensor.shape) for names, tensor in contents.tensors}
    if match is None:
        return looks_like(shapes)
    own = {name: shape for name, shape in shapes.items() if name.startswith(match.candidate.address)}
    return f"{match.layout.source} with {looks_like(own)}" if match.layout else looks_like(own)
