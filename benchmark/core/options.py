"""Command lines from typed, frozen dataclasses, by jsonargparse. Imports neither torch nor Detectron2.

A config is a frozen dataclass whose fields are made by ``option`` and annotated with the values that they may have
(``value_types``); the same object gives the flags, the grouped ``--help``, the keys of ``--config FILE.yaml``, and the
resolved file written beside the outputs. Flags win over the file, the file over the defaults. A field made by ``part``
holds a dataclass of further options, such as those of the chosen method: their flags and keys stand beside the others.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_loader

from benchmark.core.errors import UserError, nearest
from benchmark.core.strict_yaml import load_yaml, parse_yaml, shorten
from benchmark.core.value_types import InvalidOption, check_values, describe, option_types, problem_with

__all__ = ["check_values", "flag_of", "load_yaml", "option", "parse", "part", "to_dict", "to_yaml", "value_of"]

Config = TypeVar("Config")
Fields = dict[str, "dataclasses.Field[Any]"]

set_loader("strict_yaml", parse_yaml, exceptions=(yaml.YAMLError,))


def option(
    default: Any,
    help: str,
    *,
    group: str,
    positional: bool = False,
    short: str | None = None,
) -> Any:
    """Make a dataclass field that is also a command-line option.

    Args:
        default: the value without flag and file; ``None`` where the type allows it.
        help: one sentence with the unit; the possible values and the default are appended.
        group: the heading under which ``--help`` lists it.
        positional: a tuple of strings that also takes the words which stand without a flag, wherever they stand.
        short: the placeholder shown in ``--help``.
    """
    metadata = {"help": help, "group": group, "positional": positional, "short": short}
    return dataclasses.field(default=default, metadata=metadata)


def part(default_factory: Any) -> Any:
    """Make a dataclass field that holds a dataclass of options; ``parse`` may be given another class for it."""
    return dataclasses.field(default_factory=default_factory, metadata={"part": True})


def flag_of(name: "str | dataclasses.Field[Any]") -> str:
    """Return the flag of an option, such as ``--image-size``."""
    return "--" + (name if isinstance(name, str) else name.name).replace("_", "-")


def own_options(config_class: type) -> Fields:
    """Return the options of a config class by name, without those of its parts."""
    fields = dataclasses.fields(config_class)
    return {field.name: field for field in fields if field.metadata and not field.metadata.get("part")}


def parse(
    config_class: type[Config],
    argv: list[str] | None,
    prog: str,
    description: str,
    defaults: Mapping[str, Any] | None = None,
    *,
    parts: Mapping[str, type] | None = None,
    elsewhere: Mapping[str, str] | None = None,
    epilog: str | None = None,
    prepare: Callable[[dict[Any, Any], str], dict[Any, Any]] | None = None,
) -> Config:
    """Parse a command line (and ``--config`` files) into a config object; `defaults` replace the class's own.

    Args:
        config_class: a frozen dataclass of ``option`` and ``part`` fields.
        argv: the words after the program's name; None: those of this process.
        prog, description, epilog: for ``--help``.
        defaults: values by option, as a recipe holds them.
        parts: the dataclass that each ``part`` field holds in this run, by the field's name.
        elsewhere: names of options that exist in other circumstances, each with what to say when it is given:
            ``{"queue": "belongs to --method moco_v2, not to kernel_ssl"}``.
        prepare: turns the content of a --config file, given with the file's path, into values by option.

    Raises:
        UserError: an unknown flag or key (with the nearest one), a value that the option cannot have, a bad file.
        SystemExit: 0 after ``--help``.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    classes = {"": config_class, **(parts or {})}
    fields = _all_options(classes)
    options, words, files = split(argv, fields, elsewhere or {})
    positional = next((name for name, field in fields.items() if field.metadata["positional"]), None)
    if words and positional is None:
        raise UserError(f"{shorten(repr(words[0]))} stands alone: every option is written --name value. See --help.")
    parser = _parser(classes, fields, prog, description, epilog)
    if prepare:
        files = [(path, prepare(content, path)) for path, content in files]
    for path, content in files:
        check_keys(content, fields, elsewhere or {}, path)
    for values, source in [(dict(defaults or {}), ""), *[(content, f" in {path}") for path, content in files]]:
        parser.set_defaults(_read_values(parser, classes, values, source))
    namespace = _read_flags(parser, classes, options)
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in vars(namespace).items() if name in fields}
    if words:
        values[str(positional)] = tuple(words)
    try:
        return _build(classes, values)
    except InvalidOption as error:
        raise UserError(error.sentence(flag_of)) from None


def value_of(config_class: type, argv: list[str] | None, name: str, defaults: Mapping[str, Any] | None = None) -> Any:
    """Return what a command line says for one option of `config_class`, before the others are looked at.

    It is for options that decide which others exist (``--method``). Raises ``UserError`` for a value that the option
    cannot have and for a bad ``--config`` file.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    value = (defaults or {}).get(name, own_options(config_class)[name].default)
    given = [following if word == flag_of(name) else word.partition("=")[2]
             for word, following in zip(argv, [*argv[1:], ""], strict=False)
             if word == flag_of(name) or word.startswith(f"{flag_of(name)}=")]  # fmt: skip
    files = [following if word == "--config" else word.partition("=")[2]
             for word, following in zip(argv, [*argv[1:], ""], strict=False)
             if word == "--config" or word.startswith("--config=")]  # fmt: skip
    for path in files:
        value = _load_options(path).get(name, value)
    value = given[-1] if given else value
    kind = option_types(config_class)[name]
    single = dataclasses.make_dataclass("Single", [(name, kind, own_options(config_class)[name])], frozen=True)
    try:
        check_values(single(**{name: value}))
    except InvalidOption as error:
        raise UserError(f"{flag_of(name)} {error.problem}") from None
    return value


def _all_options(classes: Mapping[str, type]) -> Fields:
    """Return the options of a config and its parts by name; two of one name are a defect of the config."""
    fields: Fields = {}
    for config_class in classes.values():
        for name, field in own_options(config_class).items():
            if name in fields:
                raise TypeError(f"{config_class.__name__} has an option {name} that the config has already")
            fields[name] = field
    return fields


def _build(classes: Mapping[str, type], values: dict[str, Any]) -> Any:
    """Make the config and its parts of the values of all options."""
    made = {}
    for name, config_class in classes.items():
        own = {option: values[option] for option in own_options(config_class)}
        made[name] = (config_class, own)
    inner = {name: config_class(**own) for name, (config_class, own) in made.items() if name}
    outer_class, own = made[""]
    config = outer_class(**own, **inner)
    for one in (config, *inner.values()):
        check_values(one)
    return config


class _Formatter(DefaultHelpFormatter):
    """The help of jsonargparse, with the possible values in words instead of Python's annotation."""

    def _get_help_string(self, action: argparse.Action) -> str:
        words = getattr(action, "words", None)
        if words is None:
            return super()._get_help_string(action)
        return f"{action.help} ({words})" if words else action.help or ""


def _parser(
    classes: Mapping[str, type], fields: Fields, prog: str, description: str, epilog: str | None
) -> ArgumentParser:
    """Return the jsonargparse parser for the options, grouped as their fields say."""
    words = [f.metadata["short"] or name for name, f in fields.items() if f.metadata["positional"]]
    usage = " ".join([prog, "[options]", *[f"[{word} ...]" for word in words]])
    parser = ArgumentParser(
        prog=prog, usage=usage, description=description, epilog=epilog, parser_mode="strict_yaml",
        exit_on_error=False, formatter_class=_Formatter,
    )  # fmt: skip
    parser.add_argument("--config", help="YAML file of options; flags win over it").words = ""
    groups: dict[str, Any] = {}
    types = _types(classes)
    for name, field in fields.items():
        title = field.metadata["group"]
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        _add(groups[title], name, field, types[name])
    return parser


def _types(classes: Mapping[str, type]) -> dict[str, Any]:
    return {name: kind for config_class in classes.values() for name, kind in option_types(config_class).items()}


def _add(group: Any, name: str, field: "dataclasses.Field[Any]", kind: Any) -> None:
    """Add one option to an argument group: a switch or a typed value."""
    settings = {"default": field.default, "help": field.metadata["help"].replace("%", "%%")}
    if kind is bool:
        group.add_argument(flag_of(name), action=argparse.BooleanOptionalAction, **settings)
        return
    action = group.add_argument(flag_of(name), type=kind, metavar=field.metadata["short"], **settings)
    default = field.default
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    said = describe(kind)
    parts = [said] if said != "text" else []
    parts += [f"default: {shown}"] if shown not in (None, "") else []
    action.words = "; ".join(parts).replace("%", "%%")


def split(
    argv: list[str], fields: Fields, elsewhere: Mapping[str, str]
) -> tuple[list[str], list[str], list[tuple[str, dict]]]:
    """Separate options, words that stand alone and ``--config`` files (with their content), wherever they stand.

    argparse accepts abbreviated flags and loses words that follow a flag; an option here takes exactly one value
    (``--name value`` or ``--name=value``) or none when it is a switch, so the command line can be read from left
    to right. Lists are written as YAML. Raises ``UserError`` for an unknown flag, naming the nearest.
    """
    kinds = {flag_of(name): field for name, field in fields.items()}
    switches = {flag for flag, field in kinds.items() if isinstance(field.default, bool)}
    switches |= {"--no-" + flag[2:] for flag in switches} | {"--help", "-h"}
    options, words, files = [], [], []
    rest = iter(argv)
    for word in rest:
        flag, _, value = word.partition("=")
        if word in switches:
            options.append(word)
        elif flag in switches:
            raise UserError(f"{flag} is a switch and takes no value; write {flag} or --no-{flag[2:]}.")
        elif flag in kinds or flag == "--config":
            value = value if "=" in word else next(rest, None)
            if value is None or (value.startswith("--") and "=" not in word):
                raise UserError(f"{flag} needs a value. Run with --help for the options.")
            if flag == "--config":
                files.append((value, _load_options(value)))
                continue
            if isinstance(kinds[flag].default, tuple) and not value.startswith("["):
                value = f"[{value}]"
            options.append(f"{flag}={value}")
        elif word.startswith("--"):
            raise UserError(_unknown(flag, [*kinds, *sorted(switches), "--config"], elsewhere))
        else:
            words.append(word)
    return options, words, files


def _unknown(flag: str, known: list[str], elsewhere: Mapping[str, str]) -> str:
    if reason := elsewhere.get(flag[2:].replace("-", "_")):
        return f"{flag} {reason}."
    return f"there is no option {shorten(flag)}{nearest(flag[:100], known)} Run with --help for the list."


def _load_options(path: str) -> dict[Any, Any]:
    """Read a --config file, which must hold options by name."""
    content = load_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no options; write lines such as 'epochs: 400'.")
    return content


def check_keys(content: Mapping[Any, Any], fields: Fields, elsewhere: Mapping[str, str], path: str) -> None:
    """Refuse a --config file that names an unknown option."""
    for key in content:
        if key not in fields:
            if reason := elsewhere.get(str(key)):
                raise UserError(f"{path}: {key} {reason}.")
            near = nearest(str(key)[:100], list(fields))
            raise UserError(f"{path} names an unknown option {shorten(repr(key))}{near} Keys are flags with _.")


def _read_values(
    parser: ArgumentParser, classes: Mapping[str, type], content: dict[str, Any], source: str
) -> dict[str, Any]:
    """Return the values of a file or recipe in the types of their options."""
    types = _types(classes)
    read = {}
    for name, value in content.items():
        listed = list(value) if isinstance(value, tuple) else value
        try:
            read[name] = parser.parse_object({name: listed}, defaults=False)[name]
        except Exception:  # whatever jsonargparse raises for a value, it means that the type does not allow it
            raise UserError(f"{name}{source} {problem_with(value, types[name])}") from None
    return read


def _read_flags(parser: ArgumentParser, classes: Mapping[str, type], options: list[str]) -> Any:
    """Let jsonargparse read all flags; where it refuses, find the flag and say what its type allows."""
    try:
        return parser.parse_args(options)
    except Exception as refused:  # jsonargparse raises many kinds of errors for values that people mistype
        for word in options:
            flag, _, text = word.partition("=")
            try:
                parser.parse_args([word])
            except Exception:
                kind = _types(classes)[flag[2:].replace("-", "_")]
                raise UserError(f"{flag} {problem_with(_as_typed(text), kind)}") from None
        raise UserError(shorten(" ".join(str(refused).split()), 300)) from None


def _as_typed(text: str) -> Any:
    """Return the number or list that the text of a flag stands for, or the text itself."""
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, list):
        return tuple(value)
    return value if isinstance(value, (int, float)) else text


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config, parts included, as plain values by option (tuples become lists), ready for YAML or JSON."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.metadata.get("part"):
            values |= to_dict(value)
        else:
            values[field.name] = list(value) if isinstance(value, tuple) else value
    return values


def to_yaml(config: Any) -> str:
    """Return a config as YAML text that ``--config`` reads back to an equal config."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
