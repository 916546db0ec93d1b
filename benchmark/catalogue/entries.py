"""The catalogue's entries: published checkpoints as ``zoo.yaml`` lists them, typed and checked. Imports no torch."""

import functools
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmark.core.errors import UserError
from benchmark.core.options import load_yaml

ZOO = Path(__file__).resolve().parent / "zoo.yaml"
IMAGENET = "ImageNet-1k"
# The layouts of transfer/checkpoints that published files have, and MSRA's, which Detectron2 itself translates.
LAYOUTS = (
    "torchvision", "swav", "moco", "mocov3", "simsiam", "pycontrast", "dino", "barlow-twins", "lightly",
    "lightly-averaged", "mmselfsup", "vissl", "detectron2", "msra",
)  # fmt: skip
ACCESS = {
    "direct": "downloaded by name",
    "hand": "to be downloaded by hand",
    "other": "not a ResNet-50 of PyTorch",
    "none": "not published",
}
# Hosts that answer a download with a page to click on.
BY_HAND = {
    "drive.google.com": "Google Drive",
    "docs.google.com": "Google Drive",
    "onedrive.live.com": "OneDrive",
    "1drv.ms": "OneDrive",
    "www.dropbox.com": "Dropbox",
    "pan.baidu.com": "Baidu Pan",
    "console.cloud.google.com": "Google Cloud's console",
}
Text = Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.]*$", max_length=40)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class PublishedAs(_Strict):
    """Method, variant and epochs of an entry as ``published.csv`` names them."""

    method: Text
    variant: str = ""
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None


class Entry(_Strict):
    """One published checkpoint; what its source does not state is None. The head of ``zoo.yaml`` explains each field.

    Attributes:
        name: of ``--weights zoo:NAME``.
        method: the pre-training method, as records name it (``moco_v2``).
        variant: what differs from the method's usual recipe (``batch 256``).
        epochs: of pre-training, by the source's own word.
        trained_on: the data of pre-training.
        access: one of ``ACCESS``.
        url: of the file, or of the page where it is found.
        inside: the file's path in a shared folder.
        file: its name in the cache.
        layout: one of ``LAYOUTS``, None where nobody has seen it.
        sha256, md5: the published hash: its first hexadecimal digits (at least 8) or all of them.
        licence: as the source states it.
        published: its rows of ``published.csv``.
        source: where all this is stated.
        note: for people.
    """

    name: Name
    method: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    variant: Text | None = None
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None
    trained_on: Text = IMAGENET
    access: Literal["direct", "hand", "other", "none"]
    url: Annotated[str, Field(pattern=r"^https://[^\s/]+/\S+$")] | None = None
    inside: Text | None = None
    file: Annotated[str, Field(pattern=r"^[^\s/\\]+$")] | None = None
    layout: Literal[LAYOUTS] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")] | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{8,32}$")] | None = None
    licence: Text | None
    published: PublishedAs | None = None
    source: Text
    note: Text | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Entry":
        if (self.url is None) != (self.access == "none"):
            raise ValueError("every entry has a url, unless nothing is published")
        if self.access in ("direct", "hand") and self.file is None:
            raise ValueError("what can be downloaded needs a file name")
        if self.access == "direct" and urlsplit(self.url or "").hostname in BY_HAND:
            raise ValueError(f"{self.url} leads to a web page, not to a file: its access is 'hand'")
        if self.epochs is None and self.note is None:
            raise ValueError("unknown epochs need a note that says what the source does state")
        return self

    @property
    def project(self) -> str:
        """The repository or package that published it: ``facebookresearch/moco``, ``torchvision``."""
        return re.split(r"[@ ]", self.source)[0]


def page_host(url: str) -> str | None:
    """Name the service when an address leads to a page to click on (Google Drive, OneDrive ...), otherwise None."""
    host = (urlsplit(url).hostname or "").lower()
    return "OneDrive" if host.endswith(".sharepoint.com") else BY_HAND.get(host)


@functools.cache
def read_zoo(path: Path = ZOO) -> tuple[Entry, ...]:
    """Read and check the catalogue, in the file's order.

    Raises:
        UserError: the file is missing, no YAML, or an entry is wrong (named, with its field), or a name is given twice.
    """
    content = load_yaml(path)
    if not isinstance(content, list):
        raise UserError(f"{path} holds no list of entries; restore the file.")
    entries = []
    for number, item in enumerate(content, start=1):
        try:
            entries.append(Entry.model_validate(item))
        except ValidationError as error:
            first = error.errors()[0]
            name = item.get("name", f"number {number}") if isinstance(item, dict) else f"number {number}"
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{path}: entry {name}: {where + ': ' if where else ''}{first['msg']}; mend it.") from None
    twice = [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]
    if twice:
        raise UserError(f"{path} names {', '.join(twice)} more than once; mend it.")
    return tuple(entries)
