"""Images that are there twice: under two labels, or in training and test."""

import hashlib
import os
from collections import defaultdict
from pathlib import Path

from benchmark.core.errors import UserError
from transfer.probing.splits import LabelledImages

MOST_IMAGES = 100_000  # of larger sets nearly every size comes twice, and all files would have to be read

Image = tuple[int, int]  # split (0: training, 1: test), number in it


def check_repeated(train: LabelledImages, test: LabelledImages) -> int | None:
    """Return how many test images are also training images, byte for byte; None for sets too large to be read through.

    Raises:
        UserError: one image stands under two labels, so that no classifier can be right about both.
    """
    splits = (train, test)
    if len(train.paths) + len(test.paths) > MOST_IMAGES:
        return None
    leaked = 0
    for group in _equal(splits):
        first, *others = group
        for other in others:
            if _label(splits, other) != _label(splits, first):
                names = [splits[split].paths[number] for split, number in (first, other)]
                raise UserError(f"{names[0]} and {names[1]} are one image under two labels; remove the wrong one.")
        if first[0] == 0:
            leaked += sum(split == 1 for split, _ in others)
    return leaked


def _label(splits: tuple[LabelledImages, LabelledImages], image: Image) -> int:
    return int(splits[image[0]].labels[image[1]])


def _equal(splits: tuple[LabelledImages, LabelledImages]) -> list[list[Image]]:
    """Return the groups of two or more images of equal content, training images first; only equal sizes are read."""
    by_size: dict[int, list[Image]] = defaultdict(list)
    for split, images in enumerate(splits):
        for number in range(len(images.paths)):
            by_size[os.stat(images.paths[number]).st_size].append((split, number))
    groups: list[list[Image]] = []
    for alike in by_size.values():
        by_content: dict[bytes, list[Image]] = defaultdict(list)
        for split, number in alike if len(alike) > 1 else ():
            content = Path(splits[split].paths[number]).read_bytes()
            by_content[hashlib.sha256(content).digest()].append((split, number))
        groups += [group for group in by_content.values() if len(group) > 1]
    return groups
