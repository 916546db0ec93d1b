"""``python benchmark/zoo.py``: the published checkpoints that --weights zoo:NAME knows. Imports no torch.

Lists and filters them, shows one in full, pairs those of one recipe at two lengths, downloads, verifies the cache.
"""

import json
from dataclasses import dataclass

from benchmark.catalogue.check import check_cache, checked_text
from benchmark.catalogue.entries import read_zoo
from benchmark.catalogue.listing import PROG, entry_json, entry_text, listing, pairs_text, series_json
from benchmark.catalogue.lookup import by_name, choose, series
from benchmark.catalogue.obtain import ZOO, obtain
from benchmark.core.errors import UserError, run_command
from benchmark.core.options import option, parse

DESCRIPTION = (
    "List the published ResNet-50 checkpoints that can be fine-tuned by name (--weights zoo:NAME). With names: show "
    "these in full."
)


@dataclass(frozen=True)
class ZooConfig:
    """Options of the listing."""

    names: tuple[str, ...] = option((), "names to show in full", group="Choice", positional=True, short="NAME")
    method: str | None = option(None, "only this method, moco_v2 say", group="Choice")
    epochs: int | None = option(None, "only this number of epochs of pre-training", group="Choice")
    licence: str | None = option(None, "only licences with these words; none: not stated", group="Choice")
    source: str | None = option(None, "only sources or addresses with these words, vissl say", group="Choice")
    pairs: bool = option(False, "show what exists at two or more lengths of one recipe", group="Output")
    download: bool = option(False, "download the named ones into the cache now", group="Output")
    check: bool = option(False, "verify every file in the cache; exit code 1 if one is wrong", group="Output")
    json: bool = option(False, "print JSON instead", group="Output")

    def __post_init__(self) -> None:
        if self.pairs + self.download + self.check > 1:
            raise UserError("--pairs, --download and --check do different things; give one of them.")
        if self.download and not self.names:
            raise UserError("--download needs the names to download, such as moco_v2_800ep.")


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says; 0, or 1 when --check finds a wrong file. Raises ``UserError``."""
    config = parse(ZooConfig, argv, PROG, DESCRIPTION)
    zoo = read_zoo()
    named = [by_name(name.removeprefix(ZOO), zoo) for name in config.names]
    chosen = choose(
        named or zoo, method=config.method, epochs=config.epochs, licence=config.licence, source=config.source
    )
    if config.check:
        results = check_cache(chosen)
        print(json.dumps([vars(result) for result in results], indent=1) if config.json else checked_text(results))
        return int(any(result.state == "wrong" for result in results))
    if config.download:
        for entry in chosen:
            print(f"{entry.name}: {obtain(ZOO + entry.name).path}")
    elif config.pairs:
        found = series(chosen)
        print(json.dumps([series_json(entries) for entries in found], indent=1) if config.json else pairs_text(found))
    elif config.json:
        print(json.dumps([entry_json(entry) for entry in chosen], indent=1))
    else:
        print("\n\n".join(entry_text(entry) for entry in chosen) if named else listing(chosen))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
