"""``make faults``: do to runs what clusters, disks and people do to them, and write what happened into the docs.

Real processes, real signals, real full disks; an hour on two cores. In parts: ``python -m tests.faults kills damage``;
the rows of the other parts stay. ``--quick`` does a tenth of each and leaves the docs as they are.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults import damage, endings, inputs, kills, table
from tests.faults.runs import OFTEN, SELDOM, Subject, of_fine_tuning, of_pretraining
from tests.faults.table import Row
from tests.faults.zygote import Zygote

PRETRAINING = [OFTEN, SELDOM, OFTEN | {"workers": 2}]
FINE_TUNING = [{"checkpoint_every": 1}, {"checkpoint_every": 3, "workers": 1}]


def parts(share: float) -> dict[str, tuple[str, Callable[[Subject, Path], list[Row]]]]:
    """Return the parts by name: the command that they need, and what they do."""

    def some(count: int) -> int:
        return max(1, round(count * share))

    return {
        "kills": ("pretrain", lambda s, f: kills.kills(s, "pre-training", some(100), f, PRETRAINING)),
        "fine-tuning": ("coco", lambda s, f: kills.kills(s, "fine-tuning", some(30), f, FINE_TUNING)),
        "damage": ("pretrain", lambda s, f: damage.damage(s, some(20), f)),
        "signals": ("pretrain", lambda s, f: endings.signals(s, some(20), f)),
        "limits": ("pretrain", lambda s, f: endings.limits(s, some(20), f)),
        "disks": ("pretrain", lambda s, f: endings.disks(s, some(20), f)),
        "inputs": ("pretrain", lambda s, f: inputs.inputs(s, f)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", help=f"which: {', '.join(parts(1.0))}; default all")
    parser.add_argument("--quick", action="store_true", help="a tenth of each, and no table")
    options = parser.parse_args()
    known = parts(0.1 if options.quick else 1.0)
    for name in options.part or known:
        command, run = known[name]
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as place, Zygote(command) as zygote:
            make = of_pretraining if command == "pretrain" else of_fine_tuning
            folder = Path(place) / "runs"
            folder.mkdir()
            rows = run(make(zygote, Path(place) / "data"), folder)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        if not options.quick:
            table.put(rows)


if __name__ == "__main__":
    main()
