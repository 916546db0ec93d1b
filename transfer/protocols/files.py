"""Protocol files: read with what they inherit, merged into Detectron2's defaults, and written back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from benchmark.core.errors import UserError, check_choice, nearest
from benchmark.core.options import load_yaml
from transfer.protocols.names import FOLDER, PROTOCOLS


def file_of(name: str) -> Path:
    """Return the file of a protocol: `name` is one of ``PROTOCOLS`` or the path of a YAML file."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    check_choice("--protocol", name, PROTOCOLS)
    return FOLDER / f"{name}.yaml"


def load_protocol_file(path: str | Path) -> CfgNode:
    """Read a protocol's YAML with what it inherits by ``_BASE_`` (a path relative to the file).

    Unlike Detectron2's reader it refuses a key given twice, of which the last would win in every file
    of the chain, and runs no code.

    Returns:
        The settings of the files alone, not merged into Detectron2's defaults.

    Raises:
        UserError: a file is missing, no YAML, holds a key twice, or inherits from itself.
    """
    try:
        return CfgNode(_content(Path(path), ()))
    except AssertionError as error:  # yacs refuses a value that is neither a number, a text, a list nor a mapping
        raise UserError(f"{path}: {error}; write a number, a text or a list.") from None


def _content(path: Path, heirs: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in heirs:
        raise UserError(f"{path} inherits from itself by _BASE_; take that line out.")
    content = load_yaml(path)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path} is no protocol; it must hold Detectron2's settings as KEY: VALUE.")
    base = content.pop("_BASE_", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise UserError(f"_BASE_ in {path} is {base!r}; give the path of one file, relative to this one.")
    return _merged(_content(path.parent / base, (*heirs, path.resolve())), content)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def merge_file(cfg: CfgNode, path: Path) -> None:
    """Merge a protocol's file into a config. Raises ``UserError`` for an unknown key or a value of another type."""
    known, loaded = leaves(cfg), load_protocol_file(path)
    for key, value in leaves(loaded).items():
        if key not in known:
            raise UserError(f"{path} sets {key!r}, but Detectron2 has no such setting{nearest(key, known)}")
        if value is None and known[key] is not None:  # yacs takes None for everything
            raise UserError(f"{path} leaves {key} empty; give it a value, such as {known[key]!r}.")
    try:
        cfg.merge_from_other_cfg(loaded)
    except ValueError as error:  # yacs names key, value and both types
        raise UserError(f"{path}: {error}; write it in the type of Detectron2's default.") from None
    if cfg.VERSION != 2:
        raise UserError(f"{path} is of config version {cfg.VERSION}; write it for version 2.")


def leaves(cfg: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return every setting of a config by its dotted name, such as ``{"SOLVER.BASE_LR": 0.02, ...}``."""
    found: dict[str, Any] = {}
    for key, value in cfg.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


class _Dumper(yaml.SafeDumper):
    """Writes tuples as Detectron2's own files do: ``(60000, 80000)``. As YAML lists, nested ones would not return."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value as often as it is there; YAML's references between settings help no reader."""
        return True


_Dumper.add_representer(tuple, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:str", repr(value)))


def dump(cfg: CfgNode) -> str:
    """Return the whole config as YAML, to be written beside the outputs.

    Read back as a protocol under the same conditions it gives the same config: nothing is rescaled twice.
    """

    def plain(node: Mapping[str, Any]) -> dict[str, Any]:
        return {key: plain(value) if isinstance(value, dict) else value for key, value in node.items()}

    return yaml.dump(plain(cfg), Dumper=_Dumper, allow_unicode=True, width=120)
