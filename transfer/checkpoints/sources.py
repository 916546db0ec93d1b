"""Published checkpoints as ``--weights`` names them, and what the catalogue knows of any file by its hash.

The order of trust: what the catalogue says of a file with this very hash, then the file itself, then what the user
states. ``benchmark/catalogue`` downloads and verifies; here its words become paths and accounts.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.catalogue.cache import cache_folder, hashes_of
from benchmark.catalogue.entries import Entry
from benchmark.catalogue.obtain import Obtained, identify, licence_text, names_a_published_file, obtain
from benchmark.core.errors import UserError
from benchmark.core.log import say
from transfer.checkpoints.backbone import USER, ZOO, Backbone, Provenance

STATED_METHOD = re.compile(r"[a-z0-9][a-z0-9_.+-]{0,59}")


def locate(word: str) -> Obtained | None:
    """Return the verified file of a word that names a published one (downloading it once), None for other words.

    Raises:
        UserError, RunFailed: see ``benchmark.catalogue.obtain.obtain``.
    """
    return obtain(word) if names_a_published_file(word) else None


def hash_and_account(path: Path) -> tuple[str, dict[str, Any]]:
    """Return a file's SHA-256, and what the catalogue says of a file with that hash; see ``account_of``.

    Of a file that was given by its path people read which checkpoint it is, and its licence.
    """
    hashes = hashes_of(path)
    entry = identify(path, hashes)
    if entry is not None and not path.absolute().is_relative_to(cache_folder()):
        say(f"{path} is {entry.name} of the zoo, by its hash; {licence_text(entry.licence, entry.source)}")
    return hashes.sha256, account_of(entry)


def account_of(entry: Entry | None) -> dict[str, Any]:
    """Return what an entry of the catalogue says, as attributes of ``Provenance``, without what it does not know."""
    if entry is None:
        return {}
    account: dict[str, Any] = {"zoo": entry.name, "method": entry.method, "method_from": ZOO}
    if entry.epochs is not None:
        # The catalogue's epochs are those of the whole pre-training; what the file plans beyond is another account.
        account |= {"epoch": entry.epochs, "total_epochs": entry.epochs, "epochs_from": ZOO}
    return account


def with_statement(backbone: Backbone, word: str, method: str | None, epoch: int | None) -> Backbone:
    """Return the backbone with what the user states (``--method``, ``--epochs-stated``) where nobody else says it.

    Raises:
        UserError: the statement contradicts the catalogue or the file, or the method is no name.
    """
    if method is not None and not STATED_METHOD.fullmatch(method):
        near = re.sub(r"[^a-z0-9_.+-]+", "_", method.lower()).strip("_.+-")[:60]
        hint = f"write --method {near}" if STATED_METHOD.fullmatch(near) else "write a name such as moco_v2"
        raise UserError(f"--method {method!r} is not a name of small letters, digits and _ only; {hint}.")
    known_method = None if backbone.method_from == USER else backbone.method
    known_epoch = None if backbone.epochs_from == USER else backbone.epoch
    for flag, known, known_from, stated in (
        ("--method", known_method, backbone.method_from, method),
        ("--epochs-stated", known_epoch, backbone.epochs_from, epoch),
    ):
        if None not in (stated, known) and stated != known:
            who = "the catalogue of published checkpoints" if known_from == ZOO else "the file itself"
            raise UserError(f"{flag} {stated} contradicts {who}, which says {known} of {word}; leave {flag} out.")
    return backbone.stated(method if known_method is None else None, epoch if known_epoch is None else None, USER)


def refuse_statement(word: str, method: str | None, epoch: int | None) -> None:
    """Raise ``UserError`` when something is stated of weights that no file of unknown origin holds."""
    if method is not None or epoch is not None:
        raise UserError(f"--method and --epochs-stated describe a file of unknown origin; {word} needs neither.")


def record_of(weights: Provenance) -> Mapping[str, Any]:
    """Return the fields of a ``RunRecord`` that say what weights these are and how that is known."""
    if weights.family in ("random", "detectron2-random"):
        return {}  # nobody pre-trained them
    sources = {USER: "stated", None: None}
    return {
        "method_source": sources.get(weights.method_from, weights.method_from),
        "epochs_source": sources.get(weights.epochs_from, weights.epochs_from),
    }


def published_as(backbone: Backbone, obtained: Obtained) -> Backbone:
    """Return a backbone read from an obtained file with what the catalogue says of its word, and the file's hash."""
    return replace(backbone, **account_of(obtained.entry), sha256=obtained.sha256)
