"""A data set in COCO's layout, checked and registered with Detectron2."""

from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data.datasets import load_coco_json

from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of
from transfer.datasets import coco_format
from transfer.datasets.choice import Choice
from transfer.datasets.data import (
    DetectionData,
    check_objects,
    name_for_records,
    name_of_test_split,
    register,
)


def open_coco(root: Path, embedded: bool, choice: Choice) -> DetectionData:
    """Check and register the training images of `choice` and the test images; arguments as for ``open_data``."""
    train, test = _coco_split(root, "train"), _coco_split(root, "val")
    _check_same_categories(train, test)
    check_objects(train.annotations, train.image_ids, train.with_objects, "training")
    check_objects(test.annotations, test.image_ids, test.with_objects, "validation")
    chosen = choice.subset(train.image_ids)
    held_out = choice.held_out(chosen, len(chosen))
    train_ids = sorted(set(chosen) - set(held_out))
    source, test_ids = (train, held_out) if held_out else (test, list(test.image_ids))
    trained = check_objects(train.annotations, train_ids, train.with_objects, "training")
    check_objects(source.annotations, test_ids, source.with_objects, "validation")
    fingerprint = sha256_of(["coco", train.sha256, test.sha256, choice.identity()])
    key = sha256_of([fingerprint, str(root)])[:12]
    return DetectionData(
        task="coco",
        name=name_for_records("coco", root, embedded, (len(train.image_ids), len(test.image_ids))),
        root=root,
        train=(_register_coco(f"coco_train_{key}", train, train_ids),),
        test=(_register_coco(f"coco_test_{key}", source, test_ids),),
        class_names=tuple(name for _, name in train.categories),
        category_ids=tuple(identity for identity, _ in train.categories),
        mask_format="bitmask" if train.run_length else "polygon",
        train_images=trained,
        test_images=len(test_ids),
        fraction=choice.fraction,
        image_ids=tuple(chosen) if choice.fraction is not None else None,
        fingerprint=fingerprint,
        files=tuple(dict.fromkeys((train.annotations, train.images, source.annotations, source.images))),
        _ground_truth=partial(coco_format.ground_truth, source.annotations, frozenset(test_ids)),
    )


def open_coco_test(root: Path, embedded: bool) -> DetectionData:
    """Check and register the test images alone."""
    test = _coco_split(root, "val")
    check_objects(test.annotations, test.image_ids, test.with_objects, "validation")
    fingerprint = sha256_of(["coco test", test.sha256])
    name = f"coco_test_only_{sha256_of([fingerprint, str(root)])[:12]}"
    return DetectionData(
        task="coco",
        name=name_of_test_split("coco", root, embedded, len(test.image_ids)),
        root=root,
        train=(),
        test=(_register_coco(name, test, list(test.image_ids)),),
        class_names=tuple(name for _, name in test.categories),
        category_ids=tuple(identity for identity, _ in test.categories),
        mask_format="bitmask" if test.run_length else "polygon",
        train_images=0,
        test_images=len(test.image_ids),
        fraction=None,
        image_ids=None,
        fingerprint=fingerprint,
        files=(test.annotations, test.images),
        _ground_truth=partial(coco_format.ground_truth, test.annotations, frozenset(test.image_ids)),
    )


def _coco_split(root: Path, split: str) -> coco_format.CocoSplit:
    annotations = root / "annotations" / f"instances_{split}2017.json"
    if not annotations.is_file():
        what = "annotation file" if split == "train" else "validation split: the annotation file"
        raise UserError(f"{root} has no {what} {annotations.relative_to(root)}; complete the folder or check --data.")
    found = coco_format.read_split(annotations, root / f"{split}2017")
    if not found.image_ids:
        what = "training set is empty" if split == "train" else "validation split is empty"
        raise UserError(f"the {what}: {annotations} lists no images; check --data.")
    return found


def _check_same_categories(train: coco_format.CocoSplit, test: coco_format.CocoSplit) -> None:
    if train.categories != test.categories:
        identity, name = sorted(set(train.categories) ^ set(test.categories))[0]
        raise UserError(
            f"{train.annotations} and {test.annotations} have different categories, such as {identity} ({name}); "
            "both need the same ids and names."
        )


def _register_coco(name: str, split: coco_format.CocoSplit, ids: list[int]) -> str:
    whole = len(ids) == len(split.image_ids)
    metadata: dict[str, Any] = {"image_root": str(split.images), "evaluator_type": "coco"}
    if whole:
        metadata["json_file"] = str(split.annotations)  # of a part, Detectron2's tools must not read the whole
    metadata["thing_classes"] = [category for _, category in split.categories]
    metadata["thing_dataset_id_to_contiguous_id"] = {identity: i for i, (identity, _) in enumerate(split.categories)}
    return register(name, partial(_load_coco, name, split, None if whole else frozenset(ids)), **metadata)


def _load_coco(name: str, split: coco_format.CocoSplit, ids: frozenset[int] | None) -> list[dict]:
    found = load_coco_json(str(split.annotations), str(split.images), name)
    return found if ids is None else [entry for entry in found if entry["image_id"] in ids]
