"""Which members of a shard are images, and which class each has, by webdataset's rules.

A member's key is its path up to the first point of its last part; what follows is its field: ``a/1.jpg`` and
``a/1.cls`` are two fields of the sample ``a/1``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmark.core.errors import UserError
from pretrain.images.listing import ENDINGS
from pretrain.shards.storage import Part
from pretrain.shards.tar_members import Member

_SPLIT = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)  # webdataset/tariterators.py, base_plus_ext
_META = re.compile(r"__[^/]*__($|/)")  # webdataset keeps notes of its own in such members
LONGEST_CLASS = 200  # bytes of a .cls file


def key_and_field(name: str) -> tuple[str, str] | None:
    """Return webdataset's key and field of a member's name; None where it has none (no point, or a hidden file)."""
    found = _SPLIT.fullmatch(name)
    return None if found is None else (found.group(1), found.group(2).lower())


@dataclass
class ShardContent:
    """What one shard holds: its ``images``, the ``classes`` of keys by .cls files, images ``passed_over``."""

    images: list[Member] = field(default_factory=list)
    classes: dict[str, str] = field(default_factory=dict)
    passed_over: int = 0


def content_of(members: Iterable[Member], part: Part, where: str) -> ShardContent:
    """Sort the members of a shard into images and classes; everything else (.json, .txt ...) is passed over.

    Of several images of one sample, the one whose field is a plain ending (``jpg``) is taken and the others
    (``seg.png``) are passed over; where no field is plain, as of files with points in their names, all are images.

    Raises:
        UserError: a name that comes twice, two plain images of one sample, or a .cls file that is no class.
    """
    content, samples, seen = ShardContent(), {}, set()
    for member in members:
        if any(part_of.startswith(".") for part_of in member.name.split("/")) or _META.match(member.name):
            continue  # hidden, as in folders, or webdataset's own
        parts = key_and_field(member.name)
        if parts is None:
            continue
        if member.name in seen:
            raise UserError(f"{where} holds {member.name} twice; pack it again with one key for each sample.")
        seen.add(member.name)
        if parts[1] == "cls":
            content.classes[parts[0]] = _class(member, part, where)
        elif member.name.lower().endswith(ENDINGS):
            samples.setdefault(parts[0], []).append((parts[1], member))
    for key, images in samples.items():
        plain = [member for name, member in images if f".{name}" in ENDINGS]
        if len(plain) > 1:
            raise UserError(
                f"the sample {key} in {where} has {len(plain)} images ({plain[0].name}, {plain[1].name}), and nothing "
                "says which to train on; pack the right ones with pretrain/pack.py."
            )
        content.images += plain or [member for _, member in images]
        content.passed_over += len(images) - len(plain) if plain else 0
    return content


def _class(member: Member, part: Part, where: str) -> str:
    text = part(member.offset, min(member.size, LONGEST_CLASS + 1))
    try:
        found = text.decode().strip() if len(text) <= LONGEST_CLASS else ""
    except UnicodeDecodeError:
        found = ""
    if not found or not found.isprintable():
        raise UserError(f"{member.name} in {where} is no class; a .cls file holds a number or a name.")
    return found
