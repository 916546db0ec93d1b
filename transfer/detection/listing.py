"""``--list``: the protocols and the layouts of checkpoints, for people."""

from transfer.checkpoints.layouts import LAYOUTS
from transfer.protocols.description import in_short
from transfer.protocols.names import PROTOCOLS


def listing() -> str:
    """Return what --protocol and --layout may name, a line each."""
    lines = ["protocols (--protocol NAME, or a YAML file of Detectron2's settings):"]
    lines += [f"  {name:18} {in_short(name)}" for name in PROTOCOLS]
    lines += ["", "layouts of checkpoints (--layout NAME; recognised by themselves where nothing is given):"]
    lines += [f"  {layout.name:18} {layout.source}" for layout in LAYOUTS]
    return "\n".join(lines)
