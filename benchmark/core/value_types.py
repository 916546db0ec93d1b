"""Types of options that say which values are possible, and the one sentence for a value that is not.

A config's fields are annotated with these (or with ``Literal`` and ``Annotated[int, Field(ge=2, le=64)]``): the
command line, ``--help``, files of options and configs made in Python all follow from the annotation.
"""

import dataclasses
import typing
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from benchmark.core.errors import UserError, nearest
from benchmark.core.strict_yaml import shorten

MOST = 2**31 - 1  # what every library below us can count with
LARGEST_FLOAT32 = 3.4e38
TECHNICAL = (MOST, LARGEST_FLOAT32)


def _path(text: str) -> str:
    """Refuse what no file system takes. Raises ``ValueError``."""
    if not text.strip():
        raise ValueError("it is empty")
    if "\0" in text:
        raise ValueError("it holds a null character")
    try:
        parts = text.encode("utf-8").split(b"/")
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8; rename the file or folder, or make a link with a plain name") from None
    if max(map(len, parts)) > 255 or len(text.encode()) > 4095:
        raise ValueError("it is longer than a name of a file can be")
    return text


Count = Annotated[int, Field(gt=0, le=MOST)]
CountOrZero = Annotated[int, Field(ge=0, le=MOST)]
Workers = Annotated[int, Field(ge=0, le=1024)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # NumPy's and Detectron2's generators take no more
PositiveFloat = Annotated[float, Field(gt=0, le=LARGEST_FLOAT32, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=LARGEST_FLOAT32, allow_inf_nan=False)]
UnitInterval = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Device = Literal["auto", "cpu", "cuda"]
Branch = Literal["online", "momentum"]  # the encoder that is trained, or its moving average
Architecture = Literal["resnet18", "resnet50"]
PathText = Annotated[str, AfterValidator(_path), Field(description="the path of a file or folder")]


class InvalidOption(UserError, ValueError):
    """A value that an option cannot have, alone or beside others.

    Args:
        name: the option.
        problem: the rest of the sentence; other options stand in braces: ``has no effect with {kernel} linear.``
        others: their names.
    """

    def __init__(self, name: str, problem: str, others: Sequence[str] = ()):
        self.name, self.problem, self.others = name, problem, others
        super().__init__(self.sentence(str))

    def sentence(self, spell: Callable[[str], str]) -> str:
        """Return the sentence with each option as `spell` writes it: a command line writes flags."""
        problem = self.problem.format(**{name: spell(name) for name in self.others}) if self.others else self.problem
        return f"{spell(self.name)} {problem}"


def option_types(config_class: type) -> dict[str, Any]:
    """Return the annotated type of every option of a config class."""
    hints = typing.get_type_hints(config_class, include_extras=True)
    fields = dataclasses.fields(config_class)
    return {field.name: hints[field.name] for field in fields if field.metadata and not field.metadata.get("part")}


@cache
def _adapters(config_class: type) -> dict[str, TypeAdapter]:
    return {name: TypeAdapter(kind) for name, kind in option_types(config_class).items()}


def check_values(config: Any) -> None:
    """Raise ``InvalidOption`` for the first field of a config whose value its type does not allow.

    Configs call it in ``__post_init__``. It is a ``ValueError`` for who makes a config in Python, and a ``UserError``
    on a command line, where ``parse`` writes the option as a flag.
    """
    for name, adapter in _adapters(type(config)).items():
        value = getattr(config, name)
        try:
            adapter.validate_python(value, strict=True)
        except ValidationError as error:
            raise InvalidOption(name, _problem(value, adapter, error)) from None


def problem_with(value: Any, kind: Any) -> str:
    """Return what is wrong with a value that an option of this type cannot have: ``is 0; it must be above 0.``"""
    adapter = TypeAdapter(kind)
    try:
        adapter.validate_python(value, strict=False)
    except ValidationError as error:
        return _problem(value, adapter, error)
    return f"is {_shown(value)}; it must be {describe(kind)}."


def _problem(value: Any, adapter: TypeAdapter, error: ValidationError) -> str:
    schema = adapter.json_schema()
    choices = _choices(schema)
    if choices and isinstance(value, str):
        return f"has no value {_shown(value)}{nearest(value, choices)} It is one of: {', '.join(choices)}."
    first = error.errors()[0]
    if first["type"] == "value_error":
        return f"cannot be {_shown(value)}: {first['ctx']['error']}."
    if first["loc"] and isinstance(first["loc"][0], int):
        return f"lists {_shown(first['input'])}; it must be {_words(schema)}."
    most = first.get("ctx", {}).get("le")
    more = f", at most {most:,}" if most in TECHNICAL else ""
    return f"is {_shown(value)}; it must be {_words(schema)}{more}."


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else shorten(repr(value), 60)


def describe(kind: Any) -> str:
    """Return a type in words: ``a whole number above 0``, ``one of sgd, lars``, ``a list of numbers``."""
    return _words(TypeAdapter(kind).json_schema())


def _choices(schema: dict[str, Any]) -> list[str]:
    schema = _without_null(schema)
    found = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return [choice for choice in found if isinstance(choice, str)]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    return options[0] if options else schema


def _words(schema: dict[str, Any]) -> str:
    schema = _without_null(schema)
    if "description" in schema:
        return schema["description"]
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return f"one of {', '.join(map(str, values))}"
    kind = schema.get("type")
    if kind == "array" and "prefixItems" in schema:
        return _words_of_places([_words(item) for item in schema["prefixItems"]])
    if kind == "array":
        items = _words(schema["items"]) if "items" in schema else "values"
        return f"a list such as A,B, each {items}"
    names = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text"}
    return f"{names.get(str(kind), 'another kind of value')}{_range(schema)}"


def _words_of_places(places: list[str]) -> str:
    """Return a list of a fixed length in words: ``2 values A,B, each a number``, or each where they differ."""
    letters = [chr(ord("A") + place) for place in range(len(places))]
    listed = f"{len(places)} values {','.join(letters)}"
    if len(set(places)) == 1:
        return f"{listed}, each {places[0]}"
    of_words = {
        words: [letter for letter, own in zip(letters, places, strict=True) if own == words] for words in places
    }
    return f"{listed}: " + "; ".join(
        f"{', '.join(own)} {'each ' if len(own) > 1 else ''}{words}" for words, own in of_words.items()
    )


def _range(schema: dict[str, Any]) -> str:
    """Return the range of a number in words; bounds that only say what a computer can count are left out."""
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    high = None if high in TECHNICAL else high
    if low is not None and high is not None:
        return f" between {low:g} and {high:g}"
    if low is not None and below is None:
        return f" of {low:g} or more"
    parts = [f"at least {low:g}"] if low is not None else []
    parts += [f"above {above:g}"] if above is not None else []
    parts += [f"at most {high:g}"] if high is not None else []
    parts += [f"below {below}"] if below is not None else []
    return f" {' and '.join(parts)}" if parts else ""
