"""Published figures (``published.csv``): quoted from papers and repositories, never measured here, never averaged.

Every figure says under which of our protocols it belongs, if any, and in which settings its source differs from that
protocol (``differs``), as far as the source shows its settings. A figure is set beside a measured one only where
nothing differs; all of them are listed. ``docs/published.md`` lists where sources disagree.
"""

import csv
import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from benchmark.core.errors import UserError

PUBLISHED = Path(__file__).resolve().parent / "published.csv"
PROTOCOLS = Path(__file__).resolve().parents[1] / "protocols"
LEARNING_RATE = "SOLVER.BASE_LR"
SEARCHED = "searched per method"
# Where sources disagree, the method's own paper is believed first, then its repository, and so on; all are listed.
ORIGINS = ("own paper", "own repository", "quoted", "re-run", "aggregator")
# What may differ besides Detectron2's settings: other code, another metric, weights beyond the backbone, and what the
# source does not show.
OTHER_DIFFERENCES = ("code", "metric", "MODEL.WEIGHTS", "unknown")
PUBLISHED_METRICS = ("box_AP", "box_AP50", "box_AP75", "mask_AP", "mask_AP50", "mask_AP75", "top1", "top5")
GAINS = ("top1_delta", "delta_max")  # differences that an abstract claims
_TASK_NAMES = {"box": "bbox", "mask": "segm"}


def _count(text: Any) -> Any:
    """Read a whole number as CSV writes it; an empty cell is None."""
    if isinstance(text, str):
        return int(text) if text.isdecimal() and text.isascii() else text or None
    return text


def _percent(text: Any) -> float:
    """Read a number as CSV writes it."""
    try:
        return float(text)
    except (TypeError, ValueError):
        raise ValueError("it is not a number") from None


class Figure(BaseModel):
    """One published figure, a line of ``published.csv``.

    Attributes:
        method, variant: the method by its own name, and what differs from its usual recipe (empty: nothing is said).
        epochs: of pre-training, None where the source states none; ``epochs_note`` is what it states instead.
        batch: of pre-training, in the source's words.
        task, schedule: in the source's words.
        protocol: one of ours, empty where none fits.
        differs: ``KEY=value`` joined by ``; ``: settings of the source that differ from the protocol.
        metric, value: AP and accuracies in percent.
        origin: one of ``ORIGINS``: whose account it is.
        status: ``primary`` (seen in the source itself), ``secondary`` (on an aggregator's page) or ``claim`` (a
            sentence of an abstract).
        source: where it was published.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    method: Annotated[str, Field(min_length=1)]
    variant: str
    epochs: Annotated[Annotated[int, Field(ge=1, le=10_000)] | None, BeforeValidator(_count)]
    epochs_note: str
    batch: str
    task: Annotated[str, Field(min_length=1)]
    schedule: str
    protocol: str
    differs: str
    metric: Literal[PUBLISHED_METRICS + GAINS]
    value: Annotated[float, BeforeValidator(_percent), Field(ge=0, le=100)]
    origin: Literal[ORIGINS]
    status: Literal["primary", "secondary", "claim"]
    source: Annotated[str, Field(min_length=1, pattern=r"\S")]

    @model_validator(mode="after")
    def _check_protocol(self) -> "Figure":
        if not math.isfinite(self.value):
            raise ValueError("the value is not finite")
        if self.protocol:
            settings = protocol_settings(self.protocol)
            for key in differences(self.differs):
                if key not in settings and key not in OTHER_DIFFERENCES:
                    raise ValueError(f"differs: {key} is no setting of {self.protocol}")
        return self


def differences(text: str) -> dict[str, str]:
    """Return ``KEY=value; KEY=value`` as a dictionary. Raises ``ValueError`` for a part without a key or a value."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        key, sign, value = part.partition("=")
        if not (sign and key and value) or key in found:
            raise ValueError(f"differs: {part!r} is not KEY=value, or the key is there twice")
        found[key] = value
    return found


@functools.cache
def _protocol_file(name: str) -> dict[str, Any]:
    path = PROTOCOLS / f"{name}.yaml"
    if not name or not path.is_file():
        raise ValueError(f"protocol: there is no protocol {name!r}")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def protocol_settings(name: str) -> dict[str, Any]:
    """Return the effective settings of one of our protocols. Raises ``ValueError`` where there is no such protocol."""
    return _protocol_file(name)["settings"]


def shipped_hash(name: str) -> str | None:
    """Return the hash that records of the unchanged protocol carry, None where there is no such protocol."""
    try:
        return _protocol_file(name)["hash"]
    except ValueError:
        return None


@dataclass(frozen=True)
class PublishedRow:
    """The figures of one method in one source under one protocol.

    ``values`` maps (task, metric), such as ("bbox", "AP75"), to percent; ``differs`` names the settings in which the
    source differs from the protocol; the other attributes are those of ``Figure``.
    """

    protocol: str
    method: str
    variant: str
    epochs: int | None
    epochs_note: str
    batch: str
    differs: str
    origin: str
    status: str
    source: str
    values: dict[tuple[str, str], float]

    @property
    def label(self) -> str:
        """The method with its variant."""
        return f"{self.method} ({self.variant})" if self.variant else self.method

    @property
    def epochs_text(self) -> str:
        """Epochs as the source states them: ``200``, ``not stated``, empty where there is nothing to state."""
        return self.epochs_note if self.epochs is None else str(self.epochs)


def read_figures(path: str | Path = PUBLISHED) -> list[Figure]:
    """Read every published figure.

    Raises:
        UserError: the file is missing, lacks a column, or a line is wrong (its number and column are named) or repeats
            an earlier one.
    """
    figures: dict[tuple, int] = {}
    found = []
    for number, line in enumerate(_lines(Path(path)), start=2):
        try:
            figure = Figure.model_validate(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            problem = f"{where + ': ' if where else ''}{first['msg']}"
            raise UserError(f"{path}, line {number}: {problem} (it is {first['input']!r:.60}); mend it.") from None
        key = tuple(value for name, value in figure if name != "value")
        if key in figures:
            raise UserError(f"{path}, line {number}: line {figures[key]} has this very figure; remove one of them.")
        figures[key] = number
        found.append(figure)
    return found


def _lines(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if missing := set(Figure.model_fields) - set(reader.fieldnames or ()):
                raise UserError(f"{path} lacks the columns {', '.join(sorted(missing))}; restore the file.")
            return list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); restore the file.") from None


def read_published(path: str | Path = PUBLISHED) -> list[PublishedRow]:
    """Read the published figures that belong to one of our protocols, gathered by method, epochs and source.

    They come in the order of trust within a method and its epochs: see ``ORIGINS``. Raises as ``read_figures``.
    """
    rows: dict[tuple, PublishedRow] = {}
    for figure in read_figures(path):
        kind, _, metric = figure.metric.partition("_")
        if not figure.protocol or kind not in _TASK_NAMES:
            continue
        names = [name for name in PublishedRow.__dataclass_fields__ if name != "values"]
        key = tuple(getattr(figure, name) for name in names)
        row = rows.setdefault(key, PublishedRow(*key, values={}))
        row.values[_TASK_NAMES[kind], metric] = figure.value
    return sorted(rows.values(), key=_order)


def _order(row: PublishedRow) -> tuple:
    return (row.protocol, row.method.lower(), row.variant, row.epochs or 0, ORIGINS.index(row.origin), row.source)
