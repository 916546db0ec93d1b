"""Damaged bytes in checkpoints: a flipped bit, 4 KiB of zeros, a cut, an empty file, in the last one or in both."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from pretrain.engine.checkpoint import LAST, PREVIOUS
from tests.faults.runs import OFTEN, Subject
from tests.faults.table import Row
from tests.pretrain.runs import equal

GOES_ON = "harmless, or warned of and gone on from the one before; bit-identical weights"
NO_CHECKPOINT = "exit code 1, one sentence, a record; nothing is overwritten"


def flipped(content: bytearray, rng: random.Random) -> bytearray:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def holed(content: bytearray, rng: random.Random) -> bytearray:
    begin = rng.randrange(len(content) - 4096)
    content[begin : begin + 4096] = bytes(4096)
    return content


def cut(content: bytearray, rng: random.Random) -> bytearray:
    return content[: rng.randrange(len(content))]


KINDS: dict[str, Callable[[bytearray, random.Random], bytearray]] = {
    "one flipped bit": flipped,
    "4 KiB of zeros": holed,
    "cut short": cut,
}


def damage(subject: Subject, count: int, folder: Path, seed: int = 1) -> list[Row]:
    """Damage the last checkpoint of a run `count` times a kind, then both; continue, and compare the weights."""
    rng = random.Random(seed)
    whole, rows = folder / "whole", []
    subject.finish(whole, **OFTEN)
    wanted = subject.weights(whole)
    for name, spoil in KINDS.items():
        right = sum(_last_damaged(subject, whole, folder / "damaged", spoil, rng, wanted) for _ in range(count))
        rows.append(
            Row(
                f"{name} in the last checkpoint",
                count,
                right,
                "harmless, or warned of and gone on from the one before; bit-identical weights",
            )
        )
        print(rows[-1], flush=True)
    both = max(1, count // 4)
    right = sum(_both_damaged(subject, whole, folder / "damaged", rng) for _ in range(both))
    rows.append(
        Row("both checkpoints cut short", both, right, "exit code 1, one sentence, a record; nothing is overwritten")
    )
    print(rows[-1], flush=True)
    return rows


def _copy(whole: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)


def _last_damaged(
    subject: Subject, whole: Path, folder: Path, spoil: Callable, rng: random.Random, wanted: dict
) -> bool:
    _copy(whole, folder)
    path = folder / "run" / LAST
    path.write_bytes(spoil(bytearray(path.read_bytes()), rng))
    said = subject.finish(folder)
    return "Traceback" not in said and equal(subject.weights(folder), wanted)


def _both_damaged(subject: Subject, whole: Path, folder: Path, rng: random.Random) -> bool:
    _copy(whole, folder)
    for name in (LAST, PREVIOUS):
        path = folder / "run" / name
        path.write_bytes(cut(bytearray(path.read_bytes()), rng))
    before = (folder / "run" / LAST).read_bytes()
    process = subject.start(folder)
    right = process.wait() == 1 and "Traceback" not in process.output and "failed: " in process.output
    return right and (folder / "run" / LAST).read_bytes() == before
