"""The tables of docs/conversion.md: layouts from the code, projects from the rows that the tests prove.

``python -m tests.transfer.checkpoints.conversion_page`` writes them into the page.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from tests.transfer.checkpoints.project_files import PROJECTS
from tests.transfer.checkpoints.refused_files import REFUSED
from transfer.checkpoints.conversion import read_backbone
from transfer.checkpoints.layouts import LAYOUTS

PAGE = ROOT / "docs" / "conversion.md"


def layouts_table() -> str:
    """Return the table of layouts, from the code."""
    rows = ["| `--layout` | written by | online branch | momentum branch | completed epochs | planned epochs |"]
    rows.append("| --- " * 6 + "|")
    for layout in LAYOUTS:
        where, ahead = layout.epoch or ("", 0)
        online = f"`{layout.online}`" if layout.online else "none in front"
        momentum = f"`{layout.momentum}`" if layout.momentum else "-"
        epoch = (f"`{where}`" if where else "unknown") + (f" + {ahead}" if ahead else "")
        total = " or ".join(f"`{place}`" for place in layout.total) or "unknown"
        cells = [f"`{layout.name}`", layout.source, online, momentum, epoch, total]
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(rows)


def projects_table() -> str:
    """Return the table of projects and what conversion makes of their checkpoints, as the tests prove it."""
    rows = ["| checkpoint of | branches | layout | method shown | epochs / planned |", "| --- " * 5 + "|"]
    for project in PROJECTS:
        found = {branch: getattr(project, branch) for branch in ("online", "momentum")}
        known = {branch: value for branch, value in found.items() if isinstance(value, tuple)}
        if not known:
            rows.append(f"| {project.name} | refused | - | - | - |")
            continue
        layout, method, epoch, total = next(iter(known.values()))
        epochs = f"{'-' if epoch is None else epoch} / {'-' if total is None else total}"
        rows.append(f"| {project.name} | {', '.join(known)} | `{layout}` | {method or '-'} | {epochs} |")
    return "\n".join(rows)


def refused_table() -> str:
    """Return the table of files that are refused, with what is said of each when the tests write it."""
    rows = ["| file | what is said of it |", "| --- | --- |"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "FILE"
        for refused in REFUSED:
            refused.write(path)
            try:
                read_backbone(path)
            except UserError as error:
                said = str(error).replace(f"{path} ", "").replace("|", r"\|")
                rows.append(f"| {refused.name} | {_shortened(said)} |")
    return "\n".join(rows)


def _shortened(said: str) -> str:
    """Leave out the middle of a long list of names."""
    head, _, likeness = said.rpartition("; it looks like ")
    return said if len(said) < 250 or not head else f"{head[:150]} ... ; it looks like {likeness}"


TABLES = {"layouts": layouts_table, "projects": projects_table, "refused": refused_table}


def rendered(text: str, names: Iterable[str] = tuple(TABLES)) -> str:
    """Return the page with these tables as the code gives them, each between ``<!-- NAME -->`` and ``<!-- end -->``."""
    for name in names:
        start, rest = text.split(f"<!-- {name} -->\n", 1)
        text = f"{start}<!-- {name} -->\n{TABLES[name]()}\n<!-- end -->{rest.split('<!-- end -->', 1)[1]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
