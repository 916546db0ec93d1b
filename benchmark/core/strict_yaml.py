"""Reading YAML that people wrote, strictly: a small file of plain values, or one sentence that says what is wrong.

PyYAML's safe loader runs no code, but it is not strict. This one refuses keys given twice (PyYAML keeps the last),
aliases (ten lines of them expand to gigabytes), lists as keys and deep nesting, and it reads numbers as people mean
them: ``1e-5`` is a number, ``010`` is ten, ``1:30`` and ``2024-13-45`` are text.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from benchmark.core.errors import UserError

MAX_BYTES = 1 << 20  # of a file: options, recipes, suites and protocols have a few kilobytes
MAX_DEPTH = 50

_INTEGER = re.compile(r"^[-+]?[0-9][0-9_]*$")
_FLOAT = re.compile(
    r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"
)
_REPLACED = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")


class _StrictLoader(yaml.SafeLoader):
    """The safe loader with the rules of this module."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose one node; refuse an alias and nesting beyond ``MAX_DEPTH``."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.constructor.ConstructorError(
                None, None, f"the alias *{event.anchor} is not allowed; write the value out", event.start_mark
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.constructor.ConstructorError(
                None, None, f"more than {MAX_DEPTH} levels of nesting", self.peek_event().start_mark
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict:
    """Construct a mapping whose keys are text or numbers, none given twice."""
    seen = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(
                None, None, "a list or a mapping stands where a key belongs", key_node.start_mark
            )
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node).replace("_", ""))


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list("-+0123456789"))
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _integer)
_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_yaml(text: str) -> Any:
    """Return the plain values that YAML text holds. Raises ``yaml.YAMLError`` for everything that is wrong with it."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except (ValueError, TypeError, OverflowError, RecursionError, AttributeError) as error:
        # Explicit tags such as "!!int x" or "!!timestamp y", and numbers of thousands of digits.
        raise yaml.YAMLError(str(error) or "it is nested too deeply") from None


def load_yaml(path: str | Path) -> Any:
    """Read a YAML file of at most 1 MiB. Raises ``UserError`` naming the file and the line of what is wrong."""
    try:
        regular = Path(path).is_file()
        size = Path(path).stat().st_size if regular else 0
        if size > MAX_BYTES:
            raise UserError(f"{shorten(str(path), 300)} has {size / 2**20:.0f} MiB; a YAML file of ours has 1 at most.")
        text = Path(path).read_text(encoding="utf-8") if regular else ""
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{shorten(str(path), 300)} cannot be read ({reason}); give the path of a YAML file.") from None
    if not regular:
        raise UserError(f"there is no file {shorten(str(path), 300)}; give the path of a YAML file.")
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        reason = shorten(" ".join(str(error).split()), 300)
        raise UserError(f"{path} cannot be read as YAML: {reason}; correct that line.") from None


def shorten(text: str, most: int = 80) -> str:
    """Return text as one printable piece for a message: its start, and control characters as escapes."""
    text = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
