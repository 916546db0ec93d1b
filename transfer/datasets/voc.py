"""A data set in VOC's layout, checked and registered with Detectron2."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from detectron2.data.datasets import load_voc_instances
from detectron2.data.datasets.pascal_voc import CLASS_NAMES as VOC_CLASSES

from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of
from benchmark.core.folder import RESULTS
from transfer.datasets import voc_format
from transfer.datasets.choice import Choice
from transfer.datasets.data import (
    DetectionData,
    check_objects,
    name_for_records,
    name_of_test_split,
    register,
)

HOLDOUTS = RESULTS / "holdouts"
VOC_TRAIN = (("VOC2007", "trainval"), ("VOC2012", "trainval"))
VOC_TEST = ("VOC2007", "test")


def open_voc(root: Path, embedded: bool, choice: Choice) -> DetectionData:
    """Check and register the training images of `choice` and the test images; arguments as for ``open_data``."""
    years, test = _voc_splits(root)
    available = {f"{split.year.name}/{image_id}": split for split in years for image_id in split.image_ids}
    with_objects = frozenset(f"{split.year.name}/{image_id}" for split in years for image_id in split.with_objects)
    check_objects(root, available, with_objects, "training")
    chosen = choice.subset(available)
    held_out = _voc_holdout(root, choice, chosen, available)
    train_ids = sorted(set(chosen) - set(held_out))
    trained = check_objects(root, train_ids, with_objects, "training")
    fingerprint = sha256_of(["voc", *(split.sha256 for split in (*years, test)), choice.identity()])
    key = sha256_of([fingerprint, str(root)])[:12]
    class_names = _voc_classes((*years, test))
    evaluated = test.year
    if held_out:
        check_objects(root, held_out, with_objects, "validation")
        evaluated = HOLDOUTS / f"voc-{key}"
        images = [(available[identity].year, identity.partition("/")[2]) for identity in held_out]
        voc_format.write_year(evaluated, VOC_TEST[1], images)
    return DetectionData(
        task="voc",
        name=name_for_records("voc", root, embedded, (len(available), len(test.image_ids))),
        root=root,
        train=tuple(
            _register_voc(f"voc_train_{split.year.name}_{key}", split.year, split.image_set, class_names, train_ids)
            for split in years
            if any(available[identity] is split for identity in train_ids)
        ),
        test=(_register_voc(f"voc_test_{key}", evaluated, VOC_TEST[1], class_names),),
        class_names=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        mask_format="none",
        train_images=trained,
        test_images=len(held_out or test.image_ids),
        fraction=choice.fraction,
        image_ids=tuple(chosen) if choice.fraction is not None else None,
        fingerprint=fingerprint,
        files=_voc_files(years if held_out else [*years, test]),
    )


def open_voc_test(root: Path, embedded: bool, classes: tuple[str, ...]) -> DetectionData:
    """Check and register the test images alone; `classes`: of the detector, where its file says them."""
    test = _voc_test(root)
    fingerprint = sha256_of(["voc test", test.sha256, classes])
    class_names = classes if test.class_names <= set(classes) else _voc_classes((test,))
    name = f"voc_test_only_{sha256_of([fingerprint, str(root)])[:12]}"
    return DetectionData(
        task="voc",
        name=name_of_test_split("voc", root, embedded, len(test.image_ids)),
        root=root,
        train=(),
        test=(_register_voc(name, test.year, VOC_TEST[1], class_names),),
        class_names=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        mask_format="none",
        train_images=0,
        test_images=len(test.image_ids),
        fraction=None,
        image_ids=None,
        fingerprint=fingerprint,
        files=_voc_files([test]),
    )


def _voc_splits(root: Path) -> tuple[list[voc_format.VocSplit], voc_format.VocSplit]:
    """Return both years' training images, and the test images, checked."""
    test = _voc_test(root)
    return [voc_format.read_split(root / year, image_set) for year, image_set in VOC_TRAIN], test


def _voc_test(root: Path) -> voc_format.VocSplit:
    """Return the test images, checked."""
    listing = Path(VOC_TEST[0], "ImageSets", "Main", f"{VOC_TEST[1]}.txt")
    if not (root / listing).is_file():
        raise UserError(f"{root} has no validation split: {listing} is missing; complete the folder or check --data.")
    test = voc_format.read_split(root / VOC_TEST[0], VOC_TEST[1])
    check_objects(root, test.image_ids, test.with_objects, "validation")
    voc_format.check_evaluable(test)
    return test


def _voc_holdout(root: Path, choice: Choice, chosen: list[str], available: dict[str, voc_format.VocSplit]) -> list[str]:
    """Return the held-out ids: only images that VOC's evaluator can read, which a few of VOC2012 are not."""
    if choice.holdout is None:
        return []
    if len({identity.partition("/")[2] for identity in available}) < len(available):
        raise UserError(f"VOC2007 and VOC2012 in {root} name the same image; a hold-out needs names that differ.")
    readable = [identity for identity in chosen if identity.partition("/")[2] in available[identity].evaluable]
    return choice.held_out(readable, len(chosen))


def _voc_classes(splits: Iterable[voc_format.VocSplit]) -> tuple[str, ...]:
    """Return VOC's 20 classes in Detectron2's order, or the names found, sorted, when others occur."""
    found = frozenset().union(*(split.class_names for split in splits))
    return VOC_CLASSES if found <= set(VOC_CLASSES) else tuple(sorted(found))


def _voc_files(splits: list[voc_format.VocSplit]) -> tuple[Path, ...]:
    found: list[Path] = []
    for split in splits:
        listing = split.year / "ImageSets" / "Main" / f"{split.image_set}.txt"
        found += [listing, split.year / "Annotations", split.year / "JPEGImages"]
    return tuple(dict.fromkeys(found))


def _register_voc(
    name: str, year: Path, image_set: str, class_names: tuple[str, ...], ids: list[str] | None = None
) -> str:
    kept = None if ids is None else frozenset(ids)
    return register(
        name,
        partial(_load_voc, year, image_set, class_names, kept),
        thing_classes=list(class_names),
        dirname=str(year),
        split=image_set,
        year=2007,  # the metric (11 points), not the images: what VOC07 results are given in
        evaluator_type="pascal_voc",
    )


def _load_voc(year: Path, image_set: str, class_names: tuple[str, ...], ids: frozenset[str] | None) -> list[dict]:
    found = load_voc_instances(str(year), image_set, class_names)
    return found if ids is None else [entry for entry in found if f"{year.name}/{entry['image_id']}" in ids]
