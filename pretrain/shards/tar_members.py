"""The files in a tar archive, by one strict walk over its headers: nothing is extracted, nothing large is read.

Python's tarfile reads all but the ordinary headers for us. The walk is our own because tarfile passes over what a
source of training data must not have: an archive that is cut off between two members, links, paths that lead out.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from benchmark.core.errors import UserError
from pretrain.shards.storage import Part

BLOCK = tarfile.BLOCKSIZE  # 512 bytes; every header and content begins at a multiple
LONGEST_NAME, LARGEST_EXTENSION = 1 << 16, 1 << 20  # bytes of a long name, of a pax header
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
KINDS = {
    tarfile.LNKTYPE: "a link",
    tarfile.SYMTYPE: "a link",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


@dataclass(frozen=True)
class Member:
    """A regular file in an archive: its ``name`` without a leading ``./``, where its content begins, its bytes."""

    name: str
    offset: int
    size: int


def members(part: Part, size: int, where: str) -> Iterator[Member]:
    """Yield the regular files of an archive in their order; folders are passed over.

    Args:
        part: reads the archive.  size: of it in bytes.  where: its path, for messages.

    Raises:
        UserError: it is no tar archive, is compressed, damaged or cut off, or holds a link, a pipe, a device, an
            absolute path or one that leads out.  Errors of `part` are passed on.
    """
    offset, extended = 0, {}
    while True:
        block = part(offset, BLOCK)
        if block.startswith(COMPRESSED) and not offset:
            raise UserError(
                f"{where} is compressed, so single images cannot be read from it; unpack it to a plain .tar."
            )
        if len(block) < BLOCK:
            raise _cut_off(where, "it has no end mark")
        if not block.strip(b"\0"):
            return
        header = _header(block, offset, where)
        begin, length = offset + BLOCK, int(extended.get("size", header.size))
        if not 0 <= length <= size - begin:
            raise _cut_off(where, f"it promises {length:,} bytes of {header.name!r} and has {max(0, size - begin):,}")
        offset = begin + -(-length // BLOCK) * BLOCK
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE):
            extended = _extended(header, part, begin, length, where, extended)
            continue
        name, extended = _name(extended.get("path", header.name), where), {}
        if header.type in REGULAR:
            yield Member(name, begin, length)
        elif header.type != tarfile.DIRTYPE:
            kind = KINDS.get(header.type, f"a member of the unknown kind {header.type!r}")
            raise UserError(f"{where} holds {kind} ({name}); pack the images themselves.")


class _Plain(NamedTuple):
    """What the walk needs of a header."""

    name: str
    size: int
    type: bytes


def _plain(block: bytes) -> _Plain | None:
    """Return the header of an ordinary file, read directly: a fifth of tarfile's time; None leaves it to tarfile."""
    if block[156:157] != tarfile.REGTYPE:
        return None
    try:
        size, checksum = (int(block[begin:end].strip(b"\0 "), 8) for begin, end in ((124, 136), (148, 156)))
    except ValueError:
        return None
    if size < 0 or sum(block) - sum(block[148:156]) + 8 * ord(" ") != checksum:
        return None
    name, prefix = (block[begin:end].partition(b"\0")[0] for begin, end in ((0, 100), (345, 500)))
    return _Plain((prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape"), size, tarfile.REGTYPE)


def _header(block: bytes, offset: int, where: str) -> tarfile.TarInfo | _Plain:
    plain = _plain(block)
    if plain is not None:
        return plain
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError) as error:
        if offset:
            raise UserError(f"{where} is damaged at byte {offset:,} ({error}); copy or pack it again.") from None
        raise UserError(f"{where} is no tar archive; check --data.") from None


def _cut_off(where: str, why: str) -> UserError:
    return UserError(f"{where} is cut off or damaged: {why}; copy or pack it again.")


def _extended(
    header: tarfile.TarInfo | _Plain, part: Part, begin: int, length: int, where: str, extended: dict[str, str]
) -> dict[str, str]:
    """Return what headers before a member say of it: ``path`` and ``size``, where its own fields are too short."""
    if header.type in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):  # a link's target; what holds for all members
        return extended
    long_name = header.type == tarfile.GNUTYPE_LONGNAME
    if length > (LONGEST_NAME if long_name else LARGEST_EXTENSION):
        raise UserError(f"{where} is damaged: a name or header of {length:,} bytes; copy or pack it again.")
    content = part(begin, length)
    if long_name:
        return {**extended, "path": content.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    return {**extended, **_pax(content, where)}


def _pax(content: bytes, where: str) -> dict[str, str]:
    """Return ``path`` and ``size`` of a pax header: records ``LENGTH KEY=VALUE`` with a line break each (POSIX)."""
    found, rest = {}, content
    while rest.strip(b"\0"):
        digits, _, _ = rest.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
        record, rest = rest[len(digits) + 1 : length - 1], rest[length:]
        key, equals, value = record.partition(b"=")
        if length <= len(digits) or not equals or (key == b"size" and not value.isdigit()):
            raise UserError(f"{where} is damaged: a header that cannot be read; copy or pack it again.")
        if key.startswith(b"GNU.sparse"):
            raise UserError(f"{where} holds a sparse file; pack the images themselves.")
        if key in (b"path", b"size"):
            found[key.decode()] = value.decode("utf-8", "surrogateescape")
    return found


def _name(name: str, where: str) -> str:
    """Return a member's name without ``./`` and double slashes; refuse one that leads out of a folder."""
    folders = name.split("/")
    if name.startswith("/") or ".." in folders or "\0" in name:
        raise UserError(f"{where} holds {name!r}, a path that leads out of it; pack the images with relative names.")
    return "/".join(folder for folder in folders if folder not in ("", "."))
