"""A data set for fine-tuning: found, checked, cut to a share, and registered with Detectron2.

Detectron2's own loaders read the annotations when training begins; here is what they do not do: every check of bad
data before any training, seeded subsets (``--fraction``), a hold-out of the training images for choosing a learning
rate, and a fingerprint that says whether two runs saw the same data.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmark.core.errors import UserError
from benchmark.embedded import composer
from transfer.datasets.choice import Choice
from transfer.datasets.coco import open_coco, open_coco_test
from transfer.datasets.data import PUBLISHED, DetectionData
from transfer.datasets.voc import open_voc, open_voc_test


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
        return open_coco_test(root, embedded) if task == "coco" else open_voc_test(root, embedded, tuple(classes))
    return (open_coco if task == "coco" else open_voc)(root, embedded, choice)


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
