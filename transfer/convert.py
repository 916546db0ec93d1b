"""Any ResNet-50 checkpoint in, Detectron2 weights out, or a non-zero exit that says why.

    python transfer/convert.py CHECKPOINT --output FILE.pth [--branch online|momentum] [--layout L] [--trust]
    python transfer/convert.py CHECKPOINT --inspect

Strict: all 265 tensors of the backbone with their shapes and finite values, or nothing. docs/conversion.md has the
layouts; ``formats.py`` finds them, ``reading.py`` opens files without executing anything in them.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core.errors import UserError, nearest, run_command
from benchmark.core.files import sha256_of_file, write_bytes
from benchmark.core.options import check_choices, option, parse

if TYPE_CHECKING:
    from torch import Tensor

    from transfer.checkpoints.layouts import Backbone
    from transfer.checkpoints.reading import Contents

AUTHOR = "ssl-detection-benchmark"
_SUFFIXES = re.compile(r"(?<=.)(\.(pth|pt|tar|ckpt|pkl|safetensors|torch|bin))+$")
AT = "at:"  # --layout at:ADDRESS takes the backbone at an address that no layout has
BRANCHES = ("online", "momentum")
SOURCE_KEYS = {
    "sha256": str, "layout": str, "branch": str, "method": str, "epoch": int, "total_epochs": int, "seed": int,
    "dtype": str,
}  # fmt: skip


@dataclass(frozen=True)
class ConvertConfig:
    """Options of ``transfer/convert.py``."""

    file: tuple[str, ...] = option((), "the checkpoint (may stand without the flag)", group="Input", positional=True)
    branch: str = option("online", "which encoder of the two", group="Input", choices=BRANCHES)
    layout: str | None = option(
        None, "take the file as this layout (docs/conversion.md) or at:ADDRESS; default found by itself", group="Input"
    )
    trust: bool = option(False, "let the file run code when it is read; only if you trust its author", group="Input")
    inspect: bool = option(False, "say what the file holds and write nothing", group="Output")
    output: str | None = option(
        None, "the file to write; default the checkpoint's name with .detectron2.pth, beside it", group="Output"
    )
    overwrite: bool = option(False, "replace --output if it holds something else", group="Output")


def convert_checkpoint(
    path: str | Path, *, branch: str = "online", layout: str | None = None, trust: bool = False
) -> dict[str, Any]:
    """Convert a ResNet-50 checkpoint to what Detectron2 loads into C4 and FPN models alike.

    Args:
        path: a torch file, a Detectron2 pickle or safetensors; see ``reading.read_file``.
        branch: ``online`` (student, query, base) or ``momentum`` (teacher, key, target).
        layout: the name of a layout in ``formats.LAYOUTS``, or ``at:ADDRESS``; None finds it.
        trust: execute what the file's pickle asks for.

    Returns:
        ``{"model": 265 float32 tensors by Detectron2's name, "__author__", "matching_heuristics": True, "source":
        {"sha256", "layout", "branch", "method", "epoch", "total_epochs", "seed", "dtype"}}``. ``epoch`` counts
        completed epochs by the file's own account, ``dtype`` is the file's precision; what the file does not say is
        None. A file that was converted before keeps its source.

    Raises:
        UserError: unreadable or unsafe, no or several backbones, no such branch or layout, tensors missing,
            unexpected, misshaped, not floating point or not finite.
    """
    from transfer.checkpoints.reading import read_file

    path = Path(path)
    contents = read_file(path, trust=trust)
    backbone = choose_backbone(contents, path, branch, layout)
    check_tensors(backbone, path, contents)
    return converted(backbone.tensors, source_of(contents, backbone, path, branch))


def converted(tensors: "Mapping[str, Tensor]", source: dict[str, Any]) -> dict[str, Any]:
    """Return the converted file's content from a whole ResNet-50 under torchvision's names (others are left out)."""
    from transfer.checkpoints.resnet import detectron2_name, expected_shapes

    model = {detectron2_name(name): tensors[name].detach().float().clone() for name in expected_shapes()}
    return {"model": model, "__author__": AUTHOR, "matching_heuristics": True, "source": source}


def choose_backbone(contents: "Contents", path: Path, branch: str, layout: str | None) -> "Backbone":
    """Return the one backbone of a file that was asked for; ``UserError`` with the choices if that is not one."""
    from transfer.checkpoints.layouts import find_backbones

    found = find_backbones(contents.content, contents.metadata)
    if not found:
        raise UserError(f"{path} holds no ResNet-50: it looks like {_likeness(contents)}.")
    wanted = _forced(found, path, layout) if layout else [backbone for backbone in found if backbone.layout]
    if not wanted:
        raise UserError(
            f"{path} holds {'a backbone' if len(found) == 1 else 'backbones'} where no known layout has one, under "
            f"{', '.join(b.title for b in found)}; if that is the {branch} branch, choose by {_choices(found)}."
        )
    branches = {b.address: _branch(b, contents, branch) for b in wanted}
    fitting = [backbone for backbone in wanted if branches[backbone.address] == branch]
    if not fitting:
        has = ", ".join(sorted({f"{branches[b.address]} ({b.title})" for b in wanted}))
        raise UserError(f"{path} has no {branch} branch; it has {has}: choose that by --branch.")
    whole = [backbone for backbone in fitting if not _faults(backbone)] or fitting
    if len(whole) > 1 and not _all_equal(whole):
        raise UserError(f"{path} holds {len(whole)} backbones for the {branch} branch; choose by {_choices(whole)}.")
    return whole[0]


def _forced(found: "list[Backbone]", path: Path, layout: str) -> "list[Backbone]":
    from transfer.checkpoints.layouts import BY_NAME, branch_of

    if layout.startswith(AT):
        place = layout.removeprefix(AT)
        wanted = [b for b in found if place in (b.address, f"{b.container}/{b.address}")]
        for backbone in wanted:
            backbone.layout, backbone.branch = None, None
    elif layout not in BY_NAME:
        raise UserError(
            f"--layout has no value {layout!r}{nearest(layout, BY_NAME)} It is {', '.join(BY_NAME)} or at:ADDRESS."
        )
    else:
        wanted = [backbone for backbone in found if branch_of(backbone, BY_NAME[layout])]
        for backbone in wanted:
            backbone.layout, backbone.branch = BY_NAME[layout], branch_of(backbone, BY_NAME[layout])
    if not wanted:
        has = ", ".join(f"{b.layout.name if b.layout else 'unknown'} ({b.title})" for b in found)
        raise UserError(f"{path} has no backbone where --layout {layout} keeps it; it has: {has}.")
    return wanted


def _branch(backbone: "Backbone", contents: "Contents", asked: str) -> str:
    """Return a backbone's branch: by the file's own word, by its address, or the one asked for (``at:ADDRESS``)."""
    if backbone.layout is None:
        return asked
    said = contents.metadata.get("branch") or (_source(contents) or {}).get("branch")
    return said if said in BRANCHES else str(backbone.branch)


def _choices(backbones: "list[Backbone]") -> str:
    """List the values of --layout that tell backbones apart."""
    names = [backbone.layout.name for backbone in backbones if backbone.layout]
    if len(names) == len(backbones) == len(set(names)):
        return " or ".join(f"--layout {name}" for name in names)
    addresses = [backbone.address for backbone in backbones]
    if len(addresses) > len(set(addresses)):
        addresses = [f"{backbone.container}/{backbone.address}" for backbone in backbones]
    return " or ".join(f"--layout {AT}{address}" for address in addresses)


def _all_equal(backbones: "list[Backbone]") -> bool:
    import torch

    first = backbones[0].tensors
    return all(
        other.tensors.keys() == first.keys() and all(torch.equal(first[k], other.tensors[k]) for k in first)
        for other in backbones[1:]
    )


def _faults(backbone: "Backbone") -> list[str]:
    """List what keeps a backbone from being a ResNet-50's 265 tensors; empty when nothing does."""
    from transfer.checkpoints.resnet import expected_shapes, shorten

    expected, tensors, own = expected_shapes(), backbone.tensors, backbone.naming.own_name
    missing = [name for name in expected if name not in tensors]
    misshaped = [
        f"{own(name)} {tuple(tensor.shape)} instead of {expected[name]}"
        for name, tensor in tensors.items()
        if tuple(tensor.shape) != expected[name]
    ]
    no_numbers = [own(name) for name, tensor in tensors.items() if not tensor.is_floating_point()]
    not_finite = [own(n) for n, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
    negative = [own(n) for n, t in tensors.items() if n.endswith("running_var") and (t < 0).any()]
    faults = {
        "missing": missing,
        "unexpected": backbone.strange + (backbone.others if missing else []),
        "misshaped": misshaped,
        "given twice with different values": [own(name) for name in backbone.collisions],
        "not floating point": no_numbers,
        "not finite (NaN or infinity)": not_finite,
        "negative, which no variance is": negative,
    }
    listed = {fault: shorten(names, own if fault == "missing" else str) for fault, names in faults.items()}
    return [f"{len(faults[fault])} {fault}: {text}" for fault, text in listed.items() if text]


def check_tensors(backbone: "Backbone", path: Path, contents: "Contents") -> None:
    """Raise ``UserError`` with everything that is wrong unless the backbone has exactly a ResNet-50's tensors."""
    faults = _faults(backbone)
    if faults:
        name = backbone.layout.name if backbone.layout else "unknown"
        raise UserError(
            f"{path} (layout {name}, under {backbone.title}) does not hold the 265 tensors of a ResNet-50 backbone: "
            f"{'; '.join(faults)}; it looks like {_likeness(contents, backbone)}."
        )


def _likeness(contents: "Contents", backbone: "Backbone | None" = None) -> str:
    from transfer.checkpoints.layouts import normalised, walk
    from transfer.checkpoints.resnet import looks_like

    shapes = {normalised(names): tuple(tensor.shape) for names, tensor in walk(contents.content)}
    if backbone is None:
        return looks_like(shapes)
    own = {name: shape for name, shape in shapes.items() if name.startswith(backbone.address)}
    likeness = looks_like(own)
    return f"{backbone.layout.source} with {likeness}" if backbone.layout else likeness


def source_of(contents: "Contents", backbone: "Backbone", path: Path, branch: str) -> dict[str, Any]:
    """Return what the file says about itself, in plain Python: see ``convert_checkpoint``; unknown is None."""
    from transfer.checkpoints.layouts import lookup

    before = _source(contents)
    if before:
        return before | {"branch": before["branch"] if before["branch"] in BRANCHES else branch}
    layout, content = backbone.layout, contents.content
    source: dict[str, Any] = {
        "sha256": sha256_of_file(path),
        "layout": layout.name if layout else AT + backbone.address,
        "branch": branch,
        "method": layout.method if layout else None,
        "epoch": None,
        "total_epochs": None,
        "seed": None,
        "dtype": _kinds([backbone]),
    }
    if layout and layout.name == "pretrain-backbone":
        told = contents.metadata
        return (
            source
            | {"method": told.get("method")}
            | {key: _whole(told.get(key)) for key in ("epoch", "total_epochs", "seed")}
        )
    if layout and layout.name == "pretrain":
        source |= {"method": lookup(content, "method"), "seed": _whole(lookup(content, "config.seed"))}
    if layout and layout.name in ("solo-learn", "lightly"):
        told = lookup(content, "hyper_parameters.method")
        source["method"] = told if isinstance(told, str) else None
    if layout and layout.epoch:
        where, ahead = layout.epoch
        epoch = _whole(lookup(content, where))
        source["epoch"] = None if epoch is None else epoch + ahead
    totals = [_whole(lookup(content, where)) for where in (layout.total if layout else ())]
    source["total_epochs"] = next((total for total in totals if total is not None), None)
    return source


def _kinds(backbones: "list[Backbone]") -> str:
    """Return the precisions of the tensors, such as ``float16``."""
    return ", ".join(sorted({str(t.dtype).removeprefix("torch.") for b in backbones for t in b.tensors.values()}))


def _whole(value: Any) -> int | None:
    """Return a count in a stranger's file as a plain int, or None for anything else (Lightning's -1: no limit)."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return int(value) if float(value) == int(value) >= 0 else None
    except (TypeError, ValueError, OverflowError):
        return None


def _source(contents: "Contents") -> dict[str, Any] | None:
    """Return the source that an earlier conversion wrote into the file, only known keys of the right type."""
    content = contents.content
    told = content.get("source") if isinstance(content, Mapping) and content.get("__author__") == AUTHOR else None
    if not isinstance(told, Mapping):
        return None
    return {key: told[key] if isinstance(told.get(key), kind) else None for key, kind in SOURCE_KEYS.items()}


def inspect_file(path: str | Path, *, branch: str, layout: str | None, trust: bool) -> str:
    """Return a description of a checkpoint in lines for people: layout, branches, method, epochs, tensors, SHA-256."""
    from transfer.checkpoints.layouts import find_backbones, walk
    from transfer.checkpoints.reading import read_file

    path = Path(path)
    contents = read_file(path, trust=trust)
    found = find_backbones(contents.content, contents.metadata)
    rows = [("file", f"{path} ({contents.kind}, {path.stat().st_size / 2**20:.1f} MiB)")]
    rows.append(("sha256", sha256_of_file(path)))
    rows.append(("tensors", str(sum(1 for _ in walk(contents.content)))))
    if not found:
        return _table([*rows, ("layout", f"none: it looks like {_likeness(contents)}")])
    layouts = dict.fromkeys(f"{b.layout.name} ({b.layout.source})" if b.layout else "unknown" for b in found)
    rows.append(("layout", " + ".join(layouts)))
    for backbone in found:
        faults = _faults(backbone)
        state = "265 of 265, all shapes right"
        if faults:
            state = f"{'; '.join(faults)}; it looks like {_likeness(contents, backbone)}"
        if backbone.layout is None:
            state += f"; take it by --layout {AT}{backbone.address}"
        rows.append((_branch(backbone, contents, "unknown branch"), f"under {backbone.title}: {state}"))
    kinds = _kinds(found)
    rows.append(("dtype", kinds + ("" if kinds == "float32" else " (converted to float32)")))
    try:
        backbone = choose_backbone(contents, path, branch, layout)
    except UserError as error:
        rows.append(("conversion", f"refused: {error}"))
        backbone = found[0]
    source = source_of(contents, backbone, path, branch)
    rows += [(key, str(source[key]) if source[key] is not None else "unknown") for key in ("method", "epoch")]
    rows.append(("total epochs", str(source["total_epochs"]) if source["total_epochs"] is not None else "unknown"))
    return _table(rows)


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<15} {value}" for name, value in rows)


def write_converted(path: str | Path, content: dict[str, Any], *, overwrite: bool) -> bool:
    """Write a converted file atomically; False when these very bytes are there already.

    Raises ``UserError`` if something else is there and `overwrite` is False.
    """
    import torch

    path, buffer = Path(path), io.BytesIO()
    torch.save(content, buffer)
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder; give --output the name of a file.")
        if path.exists() and not overwrite:
            if path.read_bytes() == buffer.getvalue():
                return False
            raise UserError(f"{path} holds something else; choose another --output or give --overwrite.")
        write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another --output.") from None
    return True


def main(argv: list[str] | None = None) -> int:
    """Convert or inspect one file as the command line says; 0 when done."""
    config = parse(ConvertConfig, argv, "transfer/convert.py", "Convert a ResNet-50 checkpoint to Detectron2 weights.")
    check_choices(config)
    if len(config.file) != 1:
        raise UserError(f"{len(config.file)} files are given; write transfer/convert.py CHECKPOINT --output FILE.pth.")
    path = Path(config.file[0])
    if config.inspect:
        print(inspect_file(path, branch=config.branch, layout=config.layout, trust=config.trust))
        return 0
    output = Path(config.output) if config.output else path.with_name(_SUFFIXES.sub("", path.name) + ".detectron2.pth")
    if output.resolve() == path.resolve():
        raise UserError(f"--output {output} is the checkpoint itself; choose another name.")
    content = convert_checkpoint(path, branch=config.branch, layout=config.layout, trust=config.trust)
    new = write_converted(output, content, overwrite=config.overwrite)
    about = ", ".join(f"{key} {value}" for key, value in content["source"].items() if value is not None)
    print(f"{len(content['model'])} of 265 tensors ({about})")
    print(f"written to {output}" if new else f"{output} already holds exactly this")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
