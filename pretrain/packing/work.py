"""Packing a folder into shards, from where an interrupted command left off.

A shard is renamed into place whole, then the note of what is in it (``.pieces/NUMBER.json``). The same images with the
same settings give the same shards, so whatever has its note stays and the rest is written (again). When all are there,
the notes become the index, which is what makes the folder a set of shards, and are removed.
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmark.core.errors import UserError
from benchmark.core.files import write_text, writing
from benchmark.core.folder import claim
from benchmark.core.log import say
from benchmark.core.progress import progress
from pretrain.images.collection import Images, Labels
from pretrain.images.labels import find_labels
from pretrain.images.names import Names
from pretrain.packing.prepare import Prepared, prepare_all
from pretrain.packing.settings import Packing
from pretrain.packing.writing import Piece, compact, write_shard
from pretrain.shards.find import PIECES, find_images
from pretrain.shards.index_file import INDEX, Index, ShardFile, open_index, write_index

UNREADABLE = "unreadable.txt"
SHOWN = 5  # unreadable images that a sentence names


def pack(folder: str, shards: str, how: Packing, workers: int, skip_unreadable: bool) -> None:
    """Pack `folder` into `shards`, or go on with it.

    Raises:
        UserError: no images; the folder of shards holds something else; images cannot be read and are not to be left
            out (``unreadable.txt`` lists them, and what is packed is kept).
        CannotWrite: the disk is full, say.
    """
    images = find_images(folder)
    target = Path(shards)
    identity = {"script": "pack", "folder": images.title, "images": images.identity(), "packing": asdict(how)}
    claimed = claim(target, identity, flag="folder of shards")
    try:
        if not (target / INDEX).is_file():
            _write(images, target, how, workers, skip_unreadable)
        shutil.rmtree(target / PIECES, ignore_errors=True)
        _say_done(target)
    finally:
        claimed.release()


def _write(images: Images, target: Path, how: Packing, workers: int, skip_unreadable: bool) -> None:
    """Write the shards that are missing, then the index."""
    labels = _labels(images)
    pieces = _finished(target, skip_unreadable)
    start = pieces[-1].end if pieces else 0
    if start:
        say(f"continuing at image {start:,} of {len(images):,}: {len(pieces)} shards are written")
    prefix = re.sub(r"[^\w.-]", "_", images.title, flags=re.ASCII) or "images"

    def named(number: int) -> tuple[str, int | None]:
        return images.name(number), None if labels is None else int(labels.numbers[number])

    shown = progress(None, "packing", "image", total=len(images), initial=start, leave=True)
    with shown:
        prepared = _counted(prepare_all(images, how, workers, start), shown)
        while start < len(images):
            number = len(pieces)
            piece = write_shard(target / f"{prefix}-{number:06d}.tar", prepared, start, how.shard_bytes, named)
            write_text(target / PIECES / f"{number:06d}.json", piece.to_json() + "\n")
            pieces.append(compact(piece))
            start = piece.end
    _check_unreadable(images, pieces, target, skip_unreadable)
    index = _index(images, labels, pieces)
    with writing(target):
        for left in {path.name for path in target.glob("*.tar")} - {shard.name for shard in index.shards}:
            (target / left).unlink()  # of a packing in which images could not be read that are mended now
    write_index(target / INDEX, index)


def _counted(images: Iterator[Prepared], shown: object) -> Iterator[Prepared]:
    for image in images:
        shown.update()
        yield image


def _labels(images: Images) -> Labels | None:
    """Return the classes that the shards shall tell, None where there are none."""
    try:
        return find_labels(images)
    except UserError as error:
        say(f"the shards will have no classes: {error}")
        return None


def _finished(target: Path, keep_skipped: bool) -> list[Piece]:
    """Return the notes of the shards that are there, up to the first that is missing.

    Images that could not be read are tried again unless they are to be left out: they may have been mended since.
    """
    pieces: list[Piece] = []
    while True:
        note = target / PIECES / f"{len(pieces):06d}.json"
        try:
            piece = Piece.of_json(note.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            return pieces
        shard = target / piece.shard
        there = not len(piece.members) or (shard.is_file() and shard.stat().st_size == piece.size)
        if not there or piece.begin != (pieces[-1].end if pieces else 0) or (piece.skipped and not keep_skipped):
            return pieces
        pieces.append(compact(piece))


def _check_unreadable(images: Images, pieces: list[Piece], target: Path, skip: bool) -> None:
    """List the images that cannot be read; raise ``UserError`` unless they are to be left out."""
    skipped = [(images[number], why) for piece in pieces for number, why in piece.skipped]
    if not skipped:
        with writing(target / UNREADABLE):
            (target / UNREADABLE).unlink(missing_ok=True)
        return
    write_text(target / UNREADABLE, "".join(f"{json.dumps(path)}: {why}\n" for path, why in skipped))
    if len(skipped) == len(images):
        raise UserError(f"not one of the {len(images):,} images of {images.root} can be read; check the folder.")
    if not skip:
        some = ", ".join(path for path, _ in skipped[:SHOWN]) + (" ..." if len(skipped) > SHOWN else "")
        raise UserError(
            f"{len(skipped):,} of {len(images):,} images cannot be read ({some}; all are in {target / UNREADABLE}); "
            "mend or remove them, or repeat the command with --skip-unreadable."
        )


def _index(images: Images, labels: Labels | None, pieces: list[Piece]) -> Index:
    """Return the index of all shards."""
    written = [piece for piece in pieces if len(piece.members)]
    table = np.concatenate([piece.members for piece in written])
    counts = [len(piece.members) for piece in written]
    arrays = {
        "shard": np.repeat(np.arange(len(written), dtype=np.uint32), counts),
        **{name: table[:, column] for column, name in enumerate(("block", "size", "crc"), 1)},
    }
    if labels is not None:
        arrays["label"] = labels.numbers[table[:, 0]]
    notes = {
        "skipped": [images.name(number) for piece in pieces for number, _ in piece.skipped],
        "resized": sum(piece.resized for piece in pieces),
        "joined": sum(piece.joined for piece in pieces),
    }
    files = tuple(ShardFile(piece.shard, piece.size, piece.sha256) for piece in written)
    names = Names(images.name(int(number)) for number in table[:, 0])
    return Index(files, names, images.title, arrays, labels.classes if labels else (), notes)


def _say_done(target: Path) -> None:
    """Say what the folder of shards holds, after looking whether its shards are all there."""
    index = open_index(target / INDEX)
    for shard in index.shards:
        path = target / shard.name
        if not path.is_file() or path.stat().st_size != shard.size:
            raise UserError(f"{path} is missing or has another size than when it was packed; remove {target}, repeat.")
    total, notes = sum(shard.size for shard in index.shards), index.notes
    parts = [f"{len(index.names):,} images in {len(index.shards):,} shards, {total / 1e9:.3g} GB"]
    parts += [f"{notes['resized']:,} resized"] if notes["resized"] else []
    parts += [f"{len(notes['skipped']):,} left out ({UNREADABLE})"] if notes["skipped"] else []
    if notes["joined"]:
        parts.append(f"{notes['joined']:,} share webdataset's key with another image, which webdataset joins")
    print(f"packed: {', '.join(parts)}\ntrain with --data {target}", flush=True)
