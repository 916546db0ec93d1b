"""``python -m transfer.protocols.export``: write the effective protocols as YAML into ``benchmark/protocols``.

An audit of somebody's log or config needs the settings of a protocol and neither torch nor Detectron2. These files are
what resolving a protocol gives for self-supervised weights; a test keeps them equal to it. Each holds:

* ``protocol``, ``task``, ``hash``: its name, ``coco`` or ``voc``, and the hash that records of this protocol carry;
* ``settings``: every setting of Detectron2 that decides a result, by its dotted name; what no part of this detector
  reads (RetinaNet's settings, the size of a crop that is switched off) is left out. Norms over the whole batch are
  written ``SyncBN``, whatever computes them on one or several processes. Tuples are written as lists;
* ``decided_by``: the settings among them that comparable runs may differ in, and what decides them: the weights (their
  input convention), the method (its learning rate) or the data (classes and kind of mask). They do not enter the hash;
* ``msra``: the input convention of MSRA's supervised weights, in place of that of ``settings``.
"""

import sys
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import get_cfg

from benchmark.core.files import write_text
from benchmark.core.folder import ROOT
from transfer.checkpoints.convention import MSRA_BGR, RGB, InputConvention
from transfer.protocols.comparable import NOT_COMPARED
from transfer.protocols.files import leaves
from transfer.protocols.names import PROTOCOLS
from transfer.protocols.norms import NORM_OF, SYNCHRONISED
from transfer.protocols.resolve import Protocol, resolve_protocol
from transfer.protocols.settings import acts

EXPORTED = ROOT / "benchmark" / "protocols"
DEFAULTS = ROOT / "benchmark" / "audit" / "detectron2_defaults.yaml"
HEADER = "# Written by `python -m transfer.protocols.export`; a test keeps it equal. Do not edit it.\n"
DECIDED_BY_WHAT = {
    "INPUT.FORMAT": "weights",
    "MODEL.PIXEL_MEAN": "weights",
    "MODEL.PIXEL_STD": "weights",
    "MODEL.RESNETS.STRIDE_IN_1X1": "weights",
    "SOLVER.BASE_LR": "method",
    "MODEL.ROI_HEADS.NUM_CLASSES": "data",
    "INPUT.MASK_FORMAT": "data",
}
_CONVENTION = tuple(key for key, what in DECIDED_BY_WHAT.items() if what == "weights")


def exported(name: str) -> dict[str, Any]:
    """Return the content of a protocol's file; see the module for its keys."""
    ours, msra = _resolved(name, RGB), _resolved(name, MSRA_BGR)
    settings = {
        key: _plain(value)
        for key, value in sorted(leaves(ours.cfg).items())
        if (key not in NOT_COMPARED or key in DECIDED_BY_WHAT) and acts(ours.cfg, key)
    }
    for key in NORM_OF:
        if settings.get(key) in SYNCHRONISED:
            settings[key] = "SyncBN"
    return {
        "protocol": name,
        "task": ours.task,
        "hash": ours.hash,
        "settings": settings,
        "decided_by": dict(DECIDED_BY_WHAT),
        "msra": {key: _plain(attrgetter(key)(msra.cfg)) for key in _CONVENTION},
    }


def _resolved(name: str, convention: InputConvention) -> Protocol:
    # Two processes: the norms over the whole batch then differ from plain batch norm.
    return resolve_protocol(name, family="checkpoint", convention=convention, world_size=2)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line and a value as often as it occurs."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write no references."""
        return True


_Dumper.add_representer(
    list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)
)


def to_text(name: str) -> str:
    """Return the text of a protocol's file."""
    return HEADER + yaml.dump(exported(name), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=118)


def defaults_text() -> str:
    """Return Detectron2's own defaults as the audit reads them: a config leaves unsaid what they say."""
    settings = {key: _plain(value) for key, value in leaves(get_cfg()).items()}
    head = "# Detectron2's defaults. Written by `python -m transfer.protocols.export`; a test keeps them equal."
    return f"{head}\n" + yaml.safe_dump({"settings": settings}, sort_keys=True)


def main(argv: list[str] | None = None) -> int:
    """Write one file for each protocol, into the folder that the command line names or ``benchmark/protocols``."""
    words = sys.argv[1:] if argv is None else argv
    folder = Path(words[0]) if words else EXPORTED
    if not words:
        write_text(DEFAULTS, defaults_text())
    for name in PROTOCOLS:
        write_text(folder / f"{name}.yaml", to_text(name))
        print(folder / f"{name}.yaml")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
