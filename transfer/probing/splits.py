"""Labelled images of a folder of classes: its own training and test folders, or a split made here."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of
from pretrain.images.listing import PathList, list_images

TRAIN_FOLDERS = ("train",)
TEST_FOLDERS = ("validation", "val", "test")
OWN_TRAIN, OWN_TEST = "own-train", "own-test"  # names of the splits of a plain folder
TEST_SHARE = 0.2


@dataclass(frozen=True)
class LabelledImages:
    """One split: ``paths`` and ``labels``, (n,) int64, the class of each; ``name`` of the split's folder."""

    name: str
    paths: PathList
    labels: np.ndarray

    def fingerprint(self) -> str:
        """Return the SHA-256 of the images' names, sizes and times of change, and of the labels."""
        facts = []
        for i in range(len(self.paths)):
            status = os.stat(self.paths[i])
            name = os.path.relpath(self.paths[i], self.paths.root)
            facts.append((name, status.st_size, status.st_mtime_ns, int(self.labels[i])))
        return sha256_of(facts)


def find_splits(root: str | Path, seed: int = 0) -> tuple[LabelledImages, LabelledImages, list[str]]:
    """Return the training split, the test split and the class names of a folder of images.

    ``root/{train,validation}/<class>/*`` (or val, test) says which images are which. A plain ``root/<class>/*`` is
    split here: a fifth of each class, chosen by `seed`, becomes the test split, whose ``name`` then says so.

    Raises:
        UserError: a split is missing or empty, an image lies in no class folder, fewer than two classes, a class of
            the test split is not in the training split, or a class of a plain folder has a single image.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; give --data the folder that holds train/ and validation/.")
    if not any((root / name).is_dir() for name in (*TRAIN_FOLDERS, *TEST_FOLDERS)):
        return _split_plain(root, seed)
    listed = []
    for kind, names in (("training", TRAIN_FOLDERS), ("test", TEST_FOLDERS)):
        name = next((name for name in names if (root / name).is_dir()), None)
        if name is None:
            raise UserError(f"{root} has no folder {' or '.join(names)} for the {kind} images; make one.")
        paths = list_images(root / name)
        listed.append((name, paths, [_class_of(paths, i) for i in range(len(paths))]))
    classes = _classes(root / listed[0][0], listed[0][2])
    if unknown := sorted(set(listed[1][2]) - set(classes)):
        raise UserError(f"{root / listed[1][0]} has the class {unknown[0]!r}, which {listed[0][0]}/ has not.")
    number = {name: i for i, name in enumerate(classes)}
    splits = [
        LabelledImages(name, paths, np.array([number[c] for c in folders], np.int64)) for name, paths, folders in listed
    ]
    return splits[0], splits[1], classes


def _split_plain(root: Path, seed: int) -> tuple[LabelledImages, LabelledImages, list[str]]:
    """Split a folder of classes by itself: a fifth of each class is for the test, at least one image."""
    paths = list_images(root)
    folders = [_class_of(paths, i) for i in range(len(paths))]
    classes = _classes(root, folders)
    generator = np.random.default_rng(np.random.SeedSequence((seed, 31)))
    parts: dict[str, list[tuple[str, int]]] = {OWN_TRAIN: [], OWN_TEST: []}
    for label, name in enumerate(classes):
        members = [os.path.relpath(paths[i], paths.root) for i, folder in enumerate(folders) if folder == name]
        if len(members) < 2:
            raise UserError(
                f"the class {name!r} in {root} has one image, which cannot be split; add images or remove it."
            )
        order = [members[i] for i in generator.permutation(len(members))]
        count = max(1, round(TEST_SHARE * len(order)))
        parts[OWN_TEST] += [(member, label) for member in order[:count]]
        parts[OWN_TRAIN] += [(member, label) for member in order[count:]]
    splits = []
    for name, found in parts.items():
        found.sort()
        labels = np.array([label for _, label in found], np.int64)
        splits.append(LabelledImages(name, PathList(root, [member for member, _ in found]), labels))
    return splits[0], splits[1], classes


def _classes(where: Path, folders: list[str]) -> list[str]:
    classes = sorted(set(folders))
    if len(classes) < 2:
        raise UserError(f"{where} has only the class {classes[0]!r}; a classifier needs two or more.")
    return classes


def _class_of(paths: PathList, index: int) -> str:
    folder, separator, _ = os.path.relpath(paths[index], paths.root).partition(os.sep)
    if not separator:
        raise UserError(f"{paths[index]} lies in no class folder; sort the images into one folder a class.")
    return folder
