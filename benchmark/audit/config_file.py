"""A Detectron2 config file of anyone: read without code, with its bases, and with the mistakes that readers miss.

PyYAML keeps the last of two equal keys without a word; here both are reported. A missing base file, which Detectron2
would refuse, is reported and the rest is read.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmark.audit.settings import Settings, flat
from benchmark.audit.text import plain, read_config_text
from benchmark.core.errors import UserError

BASE = "_BASE_"
MAX_BASES = 10
MAX_NODES = 100_000


@dataclass(frozen=True)
class ConfigFile:
    """What a config says: its own settings over those of its bases, and what was found wrong on the way."""

    settings: Settings
    findings: tuple[str, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader that counts values, those behind aliases too, and remembers keys that a mapping has twice.

    Detectron2 itself writes aliases (two settings that share one tuple), so they are read; but a few of them can
    expand without end, so what they stand for is counted each time.
    """

    def __init__(self, text: str):
        super().__init__(text)
        self.repeated: list[tuple[str, int, Any]] = []
        self.nodes = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose one node and count the values that it stands for."""
        before, alias = self.nodes, self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if alias and id(node) not in self._sizes:
            raise yaml.constructor.ConstructorError(None, None, "a value that holds itself", node.start_mark)
        self.nodes += self._sizes[id(node)] if alias else 1
        self._sizes.setdefault(id(node), self.nodes - before)
        if self.nodes > MAX_NODES:
            raise yaml.constructor.ConstructorError(None, None, f"more than {MAX_NODES:,} values", None)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Construct a mapping; where a key comes twice, remember it with its line."""
        seen: set[str] = set()
        for key, value in node.value:
            name = str(getattr(key, "value", ""))
            if name in seen:
                self.repeated.append((name, key.start_mark.line + 1, value))
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def _tagged(loader: _Loader, suffix: str, node: Any) -> Any:
    """Read a Python tuple as a sequence, and any other Python tag as the text it holds, never as code."""
    if isinstance(node, yaml.SequenceNode):
        items = loader.construct_sequence(node, deep=True)
        return items[0] if suffix == "object/apply:eval" and len(items) == 1 else items
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", _tagged)


def parse(text: str, name: str) -> tuple[dict[str, Any], list[str]]:
    """Return the content of a config's text and what is wrong with it. `name` stands in the messages.

    Raises:
        UserError: the text is not YAML, or not a mapping.
    """
    loader = None
    try:
        loader = _Loader(plain(text))
        content = loader.get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError, TypeError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}" if place else ""
        reason = getattr(error, "problem", None) or str(error) or type(error).__name__
        raise UserError(f"{name} cannot be read as YAML{where} ({reason[:200]}); mend it there.") from None
    finally:
        if loader:
            loader.dispose()
    if not isinstance(content, dict):
        raise UserError(f"{name} does not hold settings (KEY: value) and is no Detectron2 config.")
    findings = [
        f"{name} has the key {key} a second time in line {line}; YAML keeps the last and loses what stood before it"
        for key, line, _ in loader.repeated
    ]
    return content, findings


def read_config(path: Path) -> ConfigFile:
    """Read a config file with its bases. Raises ``UserError`` when the file itself cannot be read."""
    findings: list[str] = []
    content, found = parse(read_config_text(path), path.name)
    findings += found
    chain, heirs = [content], [path.resolve()]
    while base := chain[-1].pop(BASE, None):
        below = (heirs[-1].parent / str(base)).resolve()
        if "://" in str(base) or not below.is_file():
            findings.append(f"{heirs[-1].name} names the base {base}, which is not here: its settings are unknown")
            break
        if below in heirs or len(heirs) > MAX_BASES:
            findings.append(f"{heirs[-1].name} names the base {base}, which leads back to itself")
            break
        content, found = parse(read_config_text(below), below.name)
        findings += found
        chain.append(content)
        heirs.append(below)
    settings: Settings = {}
    for content in reversed(chain):
        settings |= _flat(content, path.name)
    return ConfigFile(settings, tuple(findings))


def _flat(content: dict[str, Any], name: str) -> Settings:
    try:
        return flat(content)
    except ValueError as error:
        raise UserError(f"{name}: {error}.") from None
