"""All comparisons of one table, corrected for their number: settings against the control, longer against shorter."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from benchmark.comparison.inference import holm
from benchmark.comparison.repeats import MARGIN, Difference, Level, Pool, Units, compare, pool, units_of

if TYPE_CHECKING:
    from benchmark.comparison.rows import MeasuredRow, Table


@dataclass(frozen=True)
class Comparison:
    """One comparison: ``row`` minus ``reference`` in one task's AP.

    ``kind`` is ``control`` (the reference is the untrained encoder) or ``length`` (the same method and recipe,
    pre-trained for less).
    """

    kind: Literal["control", "length"]
    row: "MeasuredRow"
    reference: "MeasuredRow"
    difference: Difference

    @property
    def name(self) -> str:
        """``Kernel-SSL, 400 epochs − untrained encoder``, ``Kernel-SSL, 800 − 400 epochs``."""
        row, other = self.row, self.reference
        if self.kind == "length":
            return f"{row.label}, {row.setting.epochs_label} − {other.setting.epochs_text}"
        same = other.lrs == row.lrs
        return f"{row.name} − {other.label}{'' if same else f' at lr {other.lr_text}'}"


def pools_of(rows: "Iterable[MeasuredRow]", task: str, metric: str) -> dict[Level, Pool]:
    """Return the sd that the rows of a table share, by level of their units, where a test does not object."""
    levels: dict[Level, list[Units]] = {}
    for row in rows:
        if repeats := row.values.get((task, metric)):
            units = units_of(repeats)
            levels.setdefault(units.level, []).append(units)
    found = {level: pool(samples) for level, samples in levels.items() if level[1] is not None}
    return {level: shared for level, shared in found.items() if shared is not None}


def comparisons_of(table: "Table", task: str, metric: str = "AP", margin: float = MARGIN) -> list[Comparison]:
    """Return the comparisons of a table in one task, with p-values corrected by Holm's rule over all of them."""
    pools = table.pools(task, metric)
    found = []
    for kind, row, reference in _pairs(table):
        made = compare(row.values.get((task, metric), []), reference.values.get((task, metric), []), pools, margin)
        if made is not None:
            found.append(Comparison(kind, row, reference, made))
    tested = [c for c in found if c.difference.p is not None]
    corrected = dict(zip(map(id, tested), holm([c.difference.p for c in tested]), strict=True))
    return [
        replace(c, difference=replace(c.difference, p_holm=corrected[id(c)], comparisons=len(tested)))
        if id(c) in corrected
        else c
        for c in found
    ]


def _pairs(table: "Table") -> "list[tuple[Literal['control', 'length'], MeasuredRow, MeasuredRow]]":
    against = [(row, table.control_of(row)) for row in table.measured]
    pairs: list = [("control", row, control) for row, control in against if control is not None]
    return pairs + [("length", longer, shorter) for shorter, longer in table.length_pairs()]
