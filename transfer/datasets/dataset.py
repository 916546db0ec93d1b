"""A data set for fine-tuning: found, checked, cut to a share, and registered with Detectron2.

Detectron2's own loaders read the annotations when training begins; here is what they do not do: every check of bad
data before any training, seeded subsets (``--fraction``), a hold-out of the training images for choosing a learning
rate, and a fingerprint that says whether two runs saw the same data.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json, load_voc_instances
from detectron2.data.datasets.pascal_voc import CLASS_NAMES as VOC_CLASSES

from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of
from benchmark.core.folder import RESULTS
from benchmark.embedded import composer
from transfer.datasets import coco_format, voc_format
from transfer.datasets.choice import Choice

HOLDOUTS = RESULTS / "holdouts"
# (training images, test images) of the published sets; whatever else is called so is not them.
PUBLISHED = {"coco": (118_287, 5_000), "voc": (16_551, 4_952)}
VOC_TRAIN = (("VOC2007", "trainval"), ("VOC2012", "trainval"))
VOC_TEST = ("VOC2007", "test")


@dataclass(frozen=True)
class DetectionData:
    """A checked data set whose parts are registered with Detectron2's catalogues.

    Attributes:
        task: ``coco`` (boxes and masks) or ``voc`` (boxes).
        name: for records: ``coco`` and ``voc`` are the published sets, ``embedded`` the composed one; otherwise the
            name of the root folder.
        root: the folder that holds everything.
        train, test: registered names.
        class_names: of the contiguous classes 0 to n - 1.
        category_ids: the data set's own id of each class; 1 to n for VOC.
        mask_format: ``INPUT.MASK_FORMAT``: ``polygon`` or ``bitmask``; ``none`` for VOC.
        train_images: number of images trained on: those with at least one object that is no crowd region.
        test_images: number of images evaluated on, with or without objects.
        fraction: share of the training images in use, in (0, 1], or None.
        image_ids: ids of that share, ascending (VOC: such as ``VOC2007/000005``), or None.
        fingerprint: SHA-256 of the annotations and of what was chosen from them; independent of the place on disk.
        files: annotation files and lists, and folders of images that are read.
    """

    task: str
    name: str
    root: Path
    train: tuple[str, ...]
    test: tuple[str, ...]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    mask_format: str
    train_images: int
    test_images: int
    fraction: float | None
    image_ids: tuple[int | str, ...] | None
    fingerprint: str
    files: tuple[Path, ...]
    _ground_truth: Callable[[], dict] | None = field(default=None, repr=False, compare=False)

    def ground_truth(self) -> dict[str, Any]:
        """Return the COCO dictionary (``images``, ``annotations``, ``categories``) of the images in `test`.

        Read anew at each call and the caller's to change. Raises ``ValueError`` for VOC, which has no such file.
        """
        if self._ground_truth is None:
            raise ValueError(f"{self.name} is in VOC's layout; it has no ground truth in COCO's format.")
        return self._ground_truth()


def open_data(
    task: str,
    root: str | Path | None,
    *,
    fraction: float | None = None,
    seed: int = 0,
    holdout: float | None = None,
    test_only: bool = False,
    classes: Sequence[str] = (),
) -> DetectionData:
    """Check a data set and register its parts with Detectron2; the same arguments always give the same parts.

    Args:
        task: ``coco`` or ``voc``.
        root: the folder with ``train2017/``, ``val2017/`` and ``annotations/`` or with ``VOC2007/`` and ``VOC2012/``;
            None composes the embedded set on first use.
        fraction: share of the training images to use, in (0, 1]. Of one seed, a smaller share lies inside a larger.
        seed: decides which images `fraction` and `holdout` choose.
        holdout: share of the training images in use, in (0, 1), that becomes `test`; the rest is `train`. The real
            test split is checked all the same, so that its faults are known before a sweep, but not used.
        test_only: read the test split alone, for an evaluation; `train` is then empty, and may be missing on disk.
        classes: with `test_only`, those that the detector was trained on, where its file says them: a test split in
            VOC's layout may lack some.

    Raises:
        UserError: anything missing or wrong in the data, in one sentence.
        ValueError: unknown `task`, or a share out of range.
    """
    if task not in PUBLISHED:
        raise ValueError(f"task is {task!r}; it is one of {', '.join(PUBLISHED)}.")
    if (fraction is not None and not 0 < fraction <= 1) or (holdout is not None and not 0 < holdout < 1):
        raise ValueError(f"fraction ({fraction}) must lie in (0, 1] and holdout ({holdout}) in (0, 1).")
    choice = Choice(fraction, seed, holdout)
    embedded = root is None
    if embedded:
        root = composer.ensure_coco() if task == "coco" else composer.ensure_voc()
    root = Path(root).expanduser().resolve()
    _check_root(task, root)
    if test_only:
        return _open_coco_test(root, embedded) if task == "coco" else _open_voc_test(root, embedded, tuple(classes))
    return (_open_coco if task == "coco" else _open_voc)(root, embedded, choice)


def _check_root(task: str, root: Path) -> None:
    """Raise ``UserError`` unless `root` is a folder in the layout of `task`."""
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; give --data the root of the data set.")
    coco = (root / "annotations").is_dir()
    voc = any((root / year).is_dir() for year in ("VOC2007", "VOC2012"))
    if task == "coco" and not coco and (voc or (root / "ImageSets").is_dir()):
        raise UserError(f"{root} looks like VOC; use transfer/voc.py.")
    if task == "voc" and not voc:
        if coco:
            raise UserError(f"{root} looks like COCO; use transfer/coco.py.")
        if (root / "ImageSets").is_dir():
            raise UserError(f"{root} is one year of VOC; give --data the folder that holds VOC2007 and VOC2012.")
        raise UserError(f"{root} holds neither VOC2007 nor VOC2012; give --data the folder that holds both.")


def _name(task: str, root: Path, embedded: bool, images: tuple[int, int]) -> str:
    """Return the name for records; only the published sets are called ``coco`` and ``voc``."""
    if embedded:
        return "embedded"
    if images == PUBLISHED[task]:
        return task
    return f"{root.name}-other" if root.name in (*PUBLISHED, "embedded") else root.name


def _test_name(task: str, root: Path, embedded: bool, images: int) -> str:
    """Return the name for records where the test split alone was read."""
    complete = images == PUBLISHED[task][1]
    return _name(task, root, embedded, PUBLISHED[task] if complete else (0, images))


def _register(name: str, load: Callable[[], list[dict]], **metadata: Any) -> str:
    if name not in DatasetCatalog:
        DatasetCatalog.register(name, load)
        MetadataCatalog.get(name).set(**metadata)
    return name


def _check_objects(where: Path | str, ids: Iterable, with_objects: frozenset, purpose: str) -> int:
    """Return how many of the images hold an object; raise ``UserError`` when none does."""
    count = sum(identity in with_objects for identity in ids)
    if not count:
        raise UserError(f"none of the images for {purpose} in {where} holds an object; use more or other images.")
    return count


# COCO


def _open_coco(root: Path, embedded: bool, choice: Choice) -> DetectionData:
    train, test = _coco_split(root, "train"), _coco_split(root, "val")
    _check_same_categories(train, test)
    _check_objects(train.annotations, train.image_ids, train.with_objects, "training")
    _check_objects(test.annotations, test.image_ids, test.with_objects, "validation")
    chosen = choice.subset(train.image_ids)
    held_out = choice.held_out(chosen, len(chosen))
    train_ids = sorted(set(chosen) - set(held_out))
    source, test_ids = (train, held_out) if held_out else (test, list(test.image_ids))
    trained = _check_objects(train.annotations, train_ids, train.with_objects, "training")
    _check_objects(source.annotations, test_ids, source.with_objects, "validation")
    fingerprint = sha256_of(["coco", train.sha256, test.sha256, choice.identity()])
    key = sha256_of([fingerprint, str(root)])[:12]
    return DetectionData(
        task="coco",
        name=_name("coco", root, embedded, (len(train.image_ids), len(test.image_ids))),
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


def _open_coco_test(root: Path, embedded: bool) -> DetectionData:
    test = _coco_split(root, "val")
    _check_objects(test.annotations, test.image_ids, test.with_objects, "validation")
    fingerprint = sha256_of(["coco test", test.sha256])
    name = f"coco_test_only_{sha256_of([fingerprint, str(root)])[:12]}"
    return DetectionData(
        task="coco",
        name=_test_name("coco", root, embedded, len(test.image_ids)),
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
    return _register(name, partial(_load_coco, name, split, None if whole else frozenset(ids)), **metadata)


def _load_coco(name: str, split: coco_format.CocoSplit, ids: frozenset[int] | None) -> list[dict]:
    found = load_coco_json(str(split.annotations), str(split.images), name)
    return found if ids is None else [entry for entry in found if entry["image_id"] in ids]


# VOC


def _open_voc(root: Path, embedded: bool, choice: Choice) -> DetectionData:
    years, test = _voc_splits(root)
    available = {f"{split.year.name}/{image_id}": split for split in years for image_id in split.image_ids}
    with_objects = frozenset(f"{split.year.name}/{image_id}" for split in years for image_id in split.with_objects)
    _check_objects(root, available, with_objects, "training")
    chosen = choice.subset(available)
    held_out = _voc_holdout(root, choice, chosen, available)
    train_ids = sorted(set(chosen) - set(held_out))
    trained = _check_objects(root, train_ids, with_objects, "training")
    fingerprint = sha256_of(["voc", *(split.sha256 for split in (*years, test)), choice.identity()])
    key = sha256_of([fingerprint, str(root)])[:12]
    class_names = _voc_classes((*years, test))
    evaluated = test.year
    if held_out:
        _check_objects(root, held_out, with_objects, "validation")
        evaluated = HOLDOUTS / f"voc-{key}"
        images = [(available[identity].year, identity.partition("/")[2]) for identity in held_out]
        voc_format.write_year(evaluated, VOC_TEST[1], images)
    return DetectionData(
        task="voc",
        name=_name("voc", root, embedded, (len(available), len(test.image_ids))),
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


def _open_voc_test(root: Path, embedded: bool, classes: tuple[str, ...]) -> DetectionData:
    test = _voc_test(root)
    fingerprint = sha256_of(["voc test", test.sha256, classes])
    class_names = classes if test.class_names <= set(classes) else _voc_classes((test,))
    name = f"voc_test_only_{sha256_of([fingerprint, str(root)])[:12]}"
    return DetectionData(
        task="voc",
        name=_test_name("voc", root, embedded, len(test.image_ids)),
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
    _check_objects(root, test.image_ids, test.with_objects, "validation")
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
    return _register(
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
