"""What ``convert.py --inspect`` says of a file, in lines for people."""

from pathlib import Path

from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of_file
from transfer.checkpoints.choice import AT, choose, likeness, said_branch
from transfer.checkpoints.conversion import precisions, provenance
from transfer.checkpoints.finding import find_candidates, identify
from transfer.checkpoints.reading import read_file


def inspect_file(path: str | Path, *, branch: str, layout: str | None, trust: bool) -> str:
    """Return a description of a checkpoint in lines for people: layout, branches, method, epochs, tensors, SHA-256."""
    path = Path(path)
    contents = read_file(path, trust=trust)
    found = [identify(candidate) for candidate in find_candidates(contents)]
    rows = [("file", f"{path} ({contents.kind}, {path.stat().st_size / 2**20:.1f} MiB)")]
    rows.append(("sha256", sha256_of_file(path)))
    rows.append(("tensors", str(len(contents.tensors))))
    if not found:
        return _table([*rows, ("layout", f"none: it looks like {likeness(contents)}")])
    layouts = dict.fromkeys(f"{m.layout.name} ({m.layout.source})" if m.layout else "unknown" for m in found)
    rows.append(("layout", " + ".join(layouts)))
    for match in found:
        wrong = match.candidate.examined.faults
        count = len(match.candidate.tensors)
        state = f"{count} of {count}, all shapes right"
        if wrong:
            state = f"{'; '.join(wrong)}; it looks like {likeness(contents, match)}"
        if match.layout is None:
            state += f"; take it by --layout {AT}{match.candidate.address}"
        rows.append((said_branch(match, contents) or "unknown branch", f"under {match.candidate.title}: {state}"))
    kinds = precisions([match.candidate for match in found])
    rows.append(("dtype", kinds + ("" if kinds == "float32" else " (converted to float32)")))
    try:
        match = choose(contents, path, branch, layout)
    except UserError as error:
        rows.append(("conversion", f"refused: {error}"))
        match = found[0]
    known = provenance(contents, match, path)
    shown = {"method": known.get("method"), "epoch": known.get("epoch"), "total epochs": known.get("total_epochs")}
    if known.get("zoo"):
        rows.append(("in the zoo", f"{known['zoo']}, by its hash"))
    rows += [(key, "unknown" if value is None else str(value)) for key, value in shown.items()]
    return _table(rows)


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<15} {value}" for name, value in rows)
