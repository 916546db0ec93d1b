"""What a suite is: the pre-training and fine-tuning runs of one comparison, as a YAML file says them.

description: what the suite compares
resources:                    # of one run, by kind of run; what is left out is 1 process and 24 hours
  pretrain: {processes: 8, hours: 72}
  coco: {processes: 8, hours: 24}
pretrain:
  short:                      # a name; the options of pretrain/run.py, and the seeds of the pre-training
    epochs: 400
    data: $imagenet           # $imagenet, $coco, $voc, $images: folders that the command line gives
    seeds: [0, 1, 2]
transfer:
  - script: coco              # coco, voc or classify
    weights: [random, short]  # names from above, or any word that --weights takes; $weights: those of the command
    seeds: [0, 1, 2]          # of the fine-tuning, for each checkpoint
    options: {protocol: coco-c4-2x, data: $coco}
    overrides: [SOLVER.MAX_ITER, 60]
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.core.errors import UserError, nearest
from benchmark.core.options import load_yaml
from benchmark.core.strict_yaml import shorten

SUITES = Path(__file__).resolve().parents[1] / "suites"
PLACEHOLDER = re.compile(r"^\$([a-z]+)$")
FOLDERS = ("imagenet", "coco", "voc", "images")
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,79}$"

Script = Literal["coco", "voc", "classify"]
Kind = Literal["pretrain", "coco", "voc", "classify"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Value = str | int | float | bool | list[int] | list[float] | list[str]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Resources(_Strict):
    """What one run needs: ``processes`` (one a GPU, on one machine) and wall ``hours`` before it is asked to stop."""

    processes: Annotated[int, Field(ge=1, le=64)] = 1
    hours: Annotated[float, Field(gt=0, le=24 * 365)] = 24.0


class Transfer(_Strict):
    """Fine-tuning runs: every checkpoint of ``weights`` with every seed."""

    script: Script = "coco"
    weights: Annotated[list[str], Field(min_length=1)] = ["random"]
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    options: dict[str, Value] = Field(default_factory=dict)
    overrides: list[str | int | float | bool | list[int] | list[float]] = Field(default_factory=list)


class Suite(_Strict):
    """All runs of one comparison; see the module's docstring."""

    description: str = ""
    resources: dict[Kind, Resources] = Field(default_factory=dict)
    pretrain: dict[Annotated[str, Field(pattern=NAME)], dict[str, Value] | None] = Field(default_factory=dict)
    transfer: list[Transfer] = Field(default_factory=list)

    def of(self, kind: Kind) -> Resources:
        """Return what one run of this kind needs."""
        return self.resources.get(kind, Resources())


def shipped_suites() -> list[Path]:
    """Return the files of the suites that this project has, by name."""
    return sorted(SUITES.glob("*.yaml"))


def suite_path(name: str) -> Path:
    """Return the file of a suite given by name or path. Raises ``UserError`` with the nearest name."""
    try:
        path = Path(name) if name.endswith((".yaml", ".yml")) else SUITES / f"{name}.yaml"
        there = path.is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        known = [file.stem for file in shipped_suites()]
        raise UserError(
            f"there is no suite {shorten(repr(name))}{nearest(name[:100], known)} Suites are {', '.join(known)}, or a "
            "YAML file."
        )
    return path


def read_suite(path: Path, given: Mapping[str, Any] | None = None) -> Suite:
    """Read a suite and put what the command line gives in place of its ``$names``.

    Args:
        given: values by placeholder: folders by the names in ``FOLDERS``, a list of words for ``weights``. What is None
            stays a placeholder; ``missing`` names it.

    Raises:
        UserError: the file is not a suite: an unknown key (with the nearest), a value of another kind, no runs.
    """
    content = load_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} should hold the keys {', '.join(Suite.model_fields)}, not a {type(content).__name__}.")
    try:
        suite = Suite.model_validate(_filled(content, given or {}))
    except ValidationError as error:
        raise UserError(f"{path}: {_sentence(error)}") from None
    if not suite.pretrain and not suite.transfer:
        raise UserError(f"{path} has no runs; give it 'pretrain' or 'transfer'.")
    return suite


def _filled(content: Any, given: Mapping[str, Any]) -> Any:
    """Return content with values in place of placeholders; several words take the place of one in a list."""
    if isinstance(content, dict):
        return {key: _filled(value, given) for key, value in content.items()}
    if isinstance(content, list):
        filled: list[Any] = []
        for item in content:
            value = _given(item, given)
            filled += list(value) if isinstance(value, tuple) else [_filled(item, given)]
        return filled
    value = _given(content, given)
    return content if value is None else (list(value) if isinstance(value, tuple) else str(value))


def _given(content: Any, given: Mapping[str, Any]) -> Any:
    """Return what is given for a placeholder, None for anything else."""
    name = PLACEHOLDER.match(content) if isinstance(content, str) else None
    return given.get(name[1]) if name else None


def missing(suite: Suite) -> list[str]:
    """Return the placeholders that nobody has given a value, in the order of the file."""
    found: dict[str, None] = {}
    for options in [*suite.pretrain.values(), *(entry.options for entry in suite.transfer)]:
        for value in (options or {}).values():
            if isinstance(value, str) and (name := PLACEHOLDER.match(value)):
                found[name[1]] = None
    for entry in suite.transfer:
        for word in entry.weights:
            if name := PLACEHOLDER.match(word):
                found[name[1]] = None
    return list(found)


def _sentence(error: ValidationError) -> str:
    """Return the first problem of a suite in words."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    key = str(problem["loc"][-1]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        return f"unknown key {shorten(repr(key))}{nearest(key[:100], _keys_beside(problem['loc']))}"
    value, kinds = shorten(repr(problem["input"])), get_args(Kind)
    if problem["type"] == "literal_error" or key == "[key]":
        known = get_args(Script) if "script" in problem["loc"] else kinds
        return f"{shorten(where)} is {value}{nearest(str(problem['input'])[:100], known)}"
    wanted = _WANTED.get(problem["type"], problem["msg"].lower())
    return f"{shorten(where)} is {value}, but it should be {wanted}."


_WANTED = {
    "list_type": "a list",
    "dict_type": "a mapping such as {epochs: 400}",
    "string_pattern_mismatch": "a plain name",
}


def _keys_beside(where: tuple[int | str, ...]) -> list[str]:
    if where[0] == "transfer":
        return list(Transfer.model_fields)
    return list(Resources.model_fields) if where[0] == "resources" else list(Suite.model_fields)
