"""Published figures (``published.csv``): quoted from papers and repositories, never measured here, never averaged.

A figure is set beside measured ones only under a protocol of the same detector, heads and schedule; what a source
leaves open (schedule not stated, another code base's defaults) matches no protocol and stays out of the tables.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from benchmark.core.errors import UserError

PUBLISHED = Path(__file__).resolve().parent / "published.csv"
COLUMNS = ("method", "pretrain_epochs", "pretrain_batch", "task", "schedule", "metric", "value", "status", "source")
STATUSES = ("primary", "secondary", "claim")

# Sources that fine-tuned with MMDetection: other heads and, on VOC, the 11-point AP.
OTHER_CODE = "mmdet"

_C4, _FPN = "COCO2017 Mask R-CNN R50-C4", "COCO2017 Mask R-CNN R50-FPN"
_VOC = "VOC07+12 Faster R-CNN R50-C4"
_PROTOCOL_OF = {
    (_C4, "1x (90k iters)"): "coco-c4-1x",
    (_C4, "1x"): "coco-c4-1x",
    (_C4, "1x, third-party re-run"): "coco-c4-1x",
    (_C4, "2x (180k iters)"): "coco-c4-2x",
    (_C4, "2x"): "coco-c4-2x",
    (_FPN, "1x (90k iters)"): "coco-fpn-1x",
    (_FPN, "2x (180k iters)"): "coco-fpn-2x",
    (_FPN, "1x (90k iters), 4conv1fc+SyncBN box head"): "coco-fpn-4conv-1x",
    (_FPN, "1x, 4conv1fc+SyncBN box head"): "coco-fpn-4conv-1x",
    (_VOC, "24k iters"): "voc-c4-24k",
    (_VOC, "MoCo codebase, avg of 5 trials (24k iters not stated in table)"): "voc-c4-24k",
}


@dataclass(frozen=True)
class PublishedRow:
    """The figures of one method in one source under one protocol.

    ``epochs`` is the source's own text (``200``, ``not stated``, empty); ``values`` maps (task, metric), such as
    ("bbox", "AP75"), to percent; ``status`` is primary, secondary or claim.
    """

    protocol: str
    method: str
    epochs: str
    source: str
    status: str
    values: dict[tuple[str, str], float]


def read_published(path: str | Path = PUBLISHED) -> list[PublishedRow]:
    """Read the published figures that belong to one of our protocols, gathered by method, epochs and source.

    Raises:
        UserError: the file is missing, lacks a column, or a line has no source, an unknown status or no number.
    """
    rows: dict[tuple, PublishedRow] = {}
    for number, line in enumerate(_lines(Path(path)), start=2):
        value = _checked_value(path, number, line)
        protocol = _PROTOCOL_OF.get((line["task"], line["schedule"]))
        kind, _, metric = line["metric"].partition("_")
        task = {"box": "bbox", "mask": "segm"}.get(kind)
        if protocol is None or task is None or OTHER_CODE in line["source"]:
            continue
        key = (protocol, line["method"], line["pretrain_epochs"], line["source"], line["status"])
        row = rows.setdefault(key, PublishedRow(*key, values={}))
        row.values[task, metric] = value
    return list(rows.values())


def _lines(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if missing := set(COLUMNS) - set(reader.fieldnames or ()):
                raise UserError(f"{path} lacks the columns {', '.join(sorted(missing))}; restore the file.")
            return list(reader)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); restore the file.") from None


def _checked_value(path: str | Path, number: int, line: dict[str, str]) -> float:
    """Return the line's value; refuse a figure whose origin is not told."""
    if not (line["source"] or "").strip():
        raise UserError(f"{path}, line {number}: the figure has no source; add where it was published.")
    if line["status"] not in STATUSES:
        raise UserError(f"{path}, line {number}: status {line['status']!r} is none of {', '.join(STATUSES)}.")
    try:
        return float(line["value"])
    except ValueError:
        raise UserError(f"{path}, line {number}: {line['value']!r} is not a number.") from None
