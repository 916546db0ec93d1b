"""The names of methods: in records, for people, and in the published figures."""

import re

from benchmark.catalogue.entries import Entry, read_zoo
from benchmark.catalogue.lookup import by_hash
from benchmark.comparison.published import PublishedRow
from benchmark.records import RunRecord

CONTROL = "random"
METHOD_NAMES = {
    "random": "untrained encoder",
    "detectron2-random": "Detectron2's random init",
    "kernel_ssl": "Kernel-SSL",
    "moco": "MoCo (v1 or v2)",  # their checkpoints can look the same; then no published figure is set beside them
    "moco_v1": "MoCo v1",
    "moco_v2": "MoCo v2",
    "moco_v2_plus": "MoCo v2+",
    "moco_v3": "MoCo v3",
    "mocov3": "MoCo v3",
    "byol": "BYOL",
    "simclr": "SimCLR",
    "simclr_v2": "SimCLR v2",
    "simclrv2": "SimCLR v2",
    "simsiam": "SimSiam",
    "swav": "SwAV",
    "deepcluster_v2": "DeepCluster-v2",
    "sela_v2": "SeLa-v2",
    "barlow_twins": "Barlow Twins",
    "vicreg": "VICReg",
    "vicregl": "VICRegL",
    "dino": "DINO",
    "mec": "MEC",
    "obow": "OBoW",
    "densecl": "DenseCL",
    "detco": "DetCo",
    "pixpro": "PixPro",
    "slotcon": "SlotCon",
    "soco": "SoCo",
    "resim": "ReSim",
    "insloc": "InsLoc",
    "infomin": "InfoMin",
    "insdis": "InstDis",
    "pirl": "PIRL",
    "cmc": "CMC",
    "hcsc": "HCSC",
    "intl": "INTL",
    "lewel": "LEWEL",
    "twist": "TWIST",
    "care": "CARE",
    "coke": "CoKe",
    "msf": "MSF",
    "ressl": "ReSSL",
    "tico": "TiCo",
    "dcl": "DCL",
    "dclw": "DCLW",
    "spark": "SparK",
    "detcon_b": "DetCon-B",
    "supervised": "supervised",
    "supervised-torchvision": "supervised (torchvision)",
    "supervised-msra": "supervised (MSRA)",
}
RANDOM_INITS = ("random", "detectron2-random")
WITHOUT_EPOCHS = ("random", "detectron2-random", "supervised-torchvision", "supervised-msra")
# Methods whose published rows have another name, or a variant that is their usual recipe. The papers' "random init" is
# Detectron2's own, not the untrained encoder. Supervised weights of torchvision and of MSRA are about 1 AP apart, so a
# source that does not say which it used stands beside neither.
_PUBLISHED = {
    "random": ("", ()),
    "moco": ("", ()),
    "detectron2-random": ("random init", ("",)),
    "kernel_ssl": ("Matrix-SSL", ("",)),
    "simsiam": ("SimSiam", ("", "base")),
    "swav": ("SwAV", ("multi-crop",)),
    "supervised-torchvision": ("supervised", ("torchvision",)),
    "supervised-msra": ("supervised", ("MSRA",)),
}


def name_of(method: str) -> str:
    """Return a method as people write it."""
    return METHOD_NAMES.get(method, method)


def is_published_method(row: PublishedRow, method: str) -> bool:
    """Say whether a published row is of this method, as a record names it, with its usual recipe."""
    name, variants = _PUBLISHED.get(method, (name_of(method), ("",)))
    return _plain(row.method) == _plain(name) and row.variant in variants


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name.lower())


def entry_of(record: RunRecord) -> Entry | None:
    """Return the catalogue's entry of the weights of a record, by the name that it has or by the file's hash."""
    name = record.details.get("zoo")
    if isinstance(name, str):
        return next((entry for entry in read_zoo() if entry.name == name), None)
    return by_hash(record.file_sha256) if record.file_sha256 else None
