"""Checkpoints with flipped bits, holes, cuts and repeated pieces, by seed: what damage and malice make of files."""

import io
import pickle
import random
import zipfile
from functools import cache

import torch
from safetensors.torch import save

from tests.transfer.checkpoints.layout_files import FILES, light
from tests.transfer.checkpoints.project_files import to_detectron2_by_its_script

ONLINE, MOMENTUM = light(0), light(1)
MENDED = "checksums mended"


def _torch(content: object, new: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def _small(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors of the right names and of few values, so that a mutation meets the structure, not the values."""
    return {name: tensor.flatten()[:2].clone() for name, tensor in state.items()}


_DETECTRON2 = {"model": to_detectron2_by_its_script(_small(ONLINE)), "__author__": "MOCO", "matching_heuristics": True}
ORIGINALS = {
    "torch": lambda: _torch(FILES["moco"][1](ONLINE, MOMENTUM)),
    "torch, ours": lambda: _torch(FILES["ours"][1](ONLINE, MOMENTUM)),
    "torch, DINO with options": lambda: _torch(FILES["dino"][1](ONLINE, MOMENTUM)),
    f"torch, {MENDED}": lambda: _torch(FILES["moco"][1](ONLINE, MOMENTUM)),
    f"torch, DINO with options, {MENDED}": lambda: _torch(FILES["dino"][1](ONLINE, MOMENTUM)),
    "torch before 1.6": lambda: _torch(FILES["simsiam"][1](ONLINE, MOMENTUM), new=False),
    "pickle, protocol 2": lambda: pickle.dumps(_DETECTRON2, protocol=2),
    "pickle, protocol 4": lambda: pickle.dumps(_DETECTRON2, protocol=4),
    "pickle, protocol 5": lambda: pickle.dumps(_DETECTRON2, protocol=5),
    "safetensors": lambda: save(_small(ONLINE), {"method": "m", "branch": "online", "epoch": "3", "total_epochs": "5"}),
}


@cache
def _original(name: str) -> bytes:
    return ORIGINALS[name]()


def mutated(name: str, seed: int) -> bytes:
    """Return one of the originals after one to four mutations, each drawn from `seed`.

    A torch archive has checksums, which find nearly all of them; in those called ``mended`` the pickle is mutated and
    the archive written anew, with the right checksums, so that the pickle is looked at.
    """
    chance = random.Random(f"{name} {seed}")
    if not name.endswith(MENDED):
        return _mutate(bytearray(_original(name)), chance)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_original(name))) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            part = old.read(entry)
            new.writestr(entry.filename, _mutate(bytearray(part), chance) if entry.filename.endswith(".pkl") else part)
    return buffer.getvalue()


def _mutate(content: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 4)):
        # Half of the places are in the first 4 KiB: there is the structure of most kinds.
        place = chance.randrange(min(len(content), 4096) if chance.random() < 0.5 else len(content))
        length = chance.choice([1, 2, 4, 8, 64, 4096])
        kind = chance.choice(["bit", "byte", "zeros", "cut", "repeat", "insert", "move", "large"])
        if kind == "bit":
            content[place] ^= 1 << chance.randrange(8)
        elif kind == "byte":
            content[place] = chance.randrange(256)
        elif kind == "zeros":
            content[place : place + length] = bytes(len(content[place : place + length]))
        elif kind == "cut":
            del content[place:]
        elif kind == "repeat":
            content[place:place] = content[place : place + length] * chance.choice([1, 10, 100])
        elif kind == "insert":
            content[place:place] = chance.randbytes(length)
        elif kind == "move":
            piece = content[place : place + length]
            del content[place : place + length]
            place = chance.randrange(len(content) + 1)
            content[place:place] = piece
        else:  # a length or an index becomes a large one
            content[place : place + 4] = chance.choice([b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80"])
        content = content or bytearray(b"\x80")
    return bytes(content)
