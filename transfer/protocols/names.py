"""The protocols by name. Imports nothing heavy, so that ``--help`` and mistakes answer at once."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# Name -> task. The files base-*.yaml beside them are no protocols.
PROTOCOLS = {
    "coco-c4-1x": "coco",
    "coco-c4-2x": "coco",
    "coco-fpn-1x": "coco",
    "coco-fpn-2x": "coco",
    "coco-fpn-4conv-1x": "coco",
    "voc-c4-24k": "voc",
    "embedded": "coco",
    "embedded-voc": "voc",
}
