"""Command lines from typed, frozen dataclasses, by jsonargparse. Imports neither torch nor Detectron2.

A config is a frozen dataclass whose fields are made by ``option``; the same object gives the flags, the grouped
``--help``, the keys of ``--config FILE.yaml``, and the resolved file written beside the outputs. Flags win over
the file, the file over the defaults.
"""

import argparse
import dataclasses
import json
import re
import sys
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentParser, set_loader

from benchmark.core.errors import UserError, check_choice, nearest

Config = TypeVar("Config")


def option(
    default: Any,
    help: str,
    *,
    group: str,
    choices: tuple[str, ...] | None = None,
    positional: bool = False,
    short: str | None = None,
) -> Any:
    """Make a dataclass field that is also a command-line option.

    Args:
        default: the value without flag and file; ``None`` where the type allows it.
        help: one sentence with the unit; jsonargparse appends type and default.
        group: the heading under which ``--help`` lists it.
        choices: the accepted strings, if it is a choice; checked by ``check_choices``.
        positional: a tuple of strings that also takes the words which stand without a flag, wherever they stand.
        short: the placeholder shown in ``--help``.
    """
    metadata = {"help": help, "group": group, "choices": choices, "positional": positional, "short": short}
    return dataclasses.field(default=default, metadata=metadata)


def check_choices(config: Any) -> None:
    """Raise ``UserError`` naming the option and the nearest value for any choice that does not exist."""
    for field in dataclasses.fields(config):
        choices, value = field.metadata.get("choices"), getattr(config, field.name)
        if choices and value is not None:
            check_choice(flag_of(field), value, choices)


def flag_of(field: "dataclasses.Field[Any]") -> str:
    """Return the flag of a config field, such as ``--image-size``."""
    return "--" + field.name.replace("_", "-")


class _StrictYamlLoader(yaml.SafeLoader):
    """PyYAML's safe loader, except that a key given twice is an error (yacs and PyYAML keep the last)."""


def _mapping_without_duplicates(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_StrictYamlLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates)
# YAML 1.1 reads 1e-5 as text; a learning rate written so is a number to everybody else.
_StrictYamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def load_yaml(path: str | Path) -> Any:
    """Read a YAML file, refusing duplicate keys. Raises ``UserError`` naming file and line of what is wrong."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}; give the path of a YAML file.")
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}; mend that line.") from None


def parse_yaml(text: str) -> Any:
    """Parse YAML text, refusing duplicate keys (``yaml.YAMLError``)."""
    return yaml.load(text, Loader=_StrictYamlLoader)


set_loader("strict_yaml", parse_yaml, exceptions=(yaml.YAMLError,))


def build_parser(config_class: type, prog: str, description: str) -> ArgumentParser:
    """Return the jsonargparse parser for a config dataclass, options grouped as its fields say."""
    words = [field.metadata["short"] or field.name for field in dataclasses.fields(config_class) if _is_words(field)]
    usage = " ".join([prog, "[options]", *[f"[{word} ...]" for word in words]])
    parser = ArgumentParser(
        prog=prog, usage=usage, description=description, parser_mode="strict_yaml", exit_on_error=False
    )
    parser.add_argument("--config", action="config", help="YAML file of options (flags given as well win)")
    groups: dict[str, Any] = {}
    types = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        metadata = field.metadata
        if not metadata:
            continue
        group = groups.setdefault(metadata["group"], parser.add_argument_group(metadata["group"]))
        group_add(group, field, types[field.name])
    return parser


def _is_words(field: "dataclasses.Field[Any]") -> bool:
    return bool(field.metadata and field.metadata["positional"])


def group_add(group: Any, field: "dataclasses.Field[Any]", kind: Any) -> None:
    """Add one config field to an argument group: a switch or a typed value."""
    metadata = field.metadata
    help_text = metadata["help"]
    if metadata["choices"]:
        help_text += f" ({' | '.join(metadata['choices'])})"
    if kind is bool:
        group.add_argument(flag_of(field), action=argparse.BooleanOptionalAction, default=field.default, help=help_text)
    else:
        group.add_argument(flag_of(field), type=kind, default=field.default, help=help_text, metavar=metadata["short"])


def parse(
    config_class: type[Config],
    argv: list[str] | None,
    prog: str,
    description: str,
    defaults: dict[str, Any] | None = None,
) -> Config:
    """Parse a command line (and ``--config`` files) into a config object; `defaults` replace the class's own.

    Raises:
        UserError: an unknown flag (with the nearest one), a value of the wrong type, a bad or missing YAML file.
        SystemExit: 0 after ``--help``.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    fields = [field for field in dataclasses.fields(config_class) if field.metadata]
    positional = next((field for field in fields if _is_words(field)), None)
    parser = build_parser(config_class, prog, description)
    parser.set_defaults(defaults or {})
    options, words = _split(argv, fields)
    if words and positional is None:
        raise UserError(f"{words[0]!r} stands alone: every option is written --name value. Run {prog} --help.")
    if words and positional is not None:
        options.append(f"{flag_of(positional)}={json.dumps(words)}")
    for path in _config_files(options):
        _check_config_file(path, fields)
    try:
        namespace = parser.parse_args(options)
    except (argparse.ArgumentError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UserError(_one_sentence(error, prog)) from None
    values = {field.name: namespace[field.name] for field in fields}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return config_class(**values)


def _split(argv: list[str], fields: list["dataclasses.Field[Any]"]) -> tuple[list[str], list[str]]:
    """Separate options from the words that stand alone, wherever they stand, and write lists as YAML.

    argparse accepts abbreviated flags and loses words that follow a flag; an option here takes exactly one value
    (``--name value`` or ``--name=value``) or none when it is a switch, so the command line can be read from left
    to right. Raises ``UserError`` for an unknown flag, naming the nearest.
    """
    kinds = {flag_of(field): field for field in fields}
    switches = {flag for flag, field in kinds.items() if isinstance(field.default, bool)}
    switches |= {"--no-" + flag[2:] for flag in switches} | {"--help", "-h"}
    options, words = [], []
    rest = iter(argv)
    for word in rest:
        flag, _, value = word.partition("=")
        if word in switches or flag == "--print_config":
            options.append(word)
        elif flag in kinds or flag == "--config":
            if "=" not in word:
                value = next(rest, None)
                if value is None or value.startswith("--"):
                    raise UserError(f"{flag} needs a value. Run with --help for the options.")
            if flag in kinds and isinstance(kinds[flag].default, tuple) and not value.startswith("["):
                value = f"[{value}]"
            options.append(f"{flag}={value}")
        elif word.startswith("--"):
            raise UserError(
                f"there is no option {flag}{nearest(flag, [*kinds, *switches])} Run with --help for the list."
            )
        else:
            words.append(word)
    return options, words


def _config_files(options: list[str]) -> list[str]:
    return [word.partition("=")[2] for word in options if word.startswith("--config=")]


def _check_config_file(path: str, fields: list) -> None:
    """Refuse a config file that is missing, malformed or holds an unknown key, before jsonargparse reads it."""
    content = load_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no options; write lines such as 'epochs: 400'.")
    known = [field.name for field in fields]
    for key in content:
        if key not in known:
            raise UserError(f"{path} names an unknown option {key!r}{nearest(str(key), known)} Keys are flags with _.")


def _one_sentence(error: Exception, prog: str) -> str:
    """Say jsonargparse's error in the words of the command line."""
    text = " ".join(str(error).split()).rstrip(".")
    wrong_type = re.search(r"Parser key \"(\w+)\".*?(?:Got|Given) value: (.*?)(?:$| - )", text)
    if wrong_type:
        name, value = wrong_type.groups()
        kinds = re.findall(r"Expected an? (?:<class ')?(\w+)", text)
        kind = " or ".join(dict.fromkeys(k for k in kinds if k != "NoneType")) or "another kind of value"
        text = f"--{name.replace('_', '-')} takes {kind}, not {value!r}"
    return f"{text}. Run {prog} --help for the options."


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as plain values (tuples become lists), ready for YAML or JSON."""
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        values[field.name] = list(value) if isinstance(value, tuple) else value
    return values


def to_yaml(config: Any) -> str:
    """Return a config as YAML text that ``--config`` reads back to an equal config."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
