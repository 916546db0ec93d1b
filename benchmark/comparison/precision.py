"""The same fine-tuning in two precisions: bf16 minus float32, for every setting that was run in both.

Precision is part of a protocol's hash, so the two stand in tables of their own and no table compares them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmark.comparison.repeats import Difference, compare
from benchmark.comparison.rows import TASK_NAMES, MeasuredRow, Table
from benchmark.comparison.wording import difference_text

OVERRIDE = "precision"  # what a run's overrides hold where its precision is not the protocol's


@dataclass(frozen=True)
class PrecisionDifference:
    """One setting in one task: AP in ``precision`` minus AP in the protocol's own."""

    protocol: str
    row: MeasuredRow
    task: str
    precision: str
    difference: Difference

    @property
    def sentence(self) -> str:
        """The difference in words, with what the margin lets one say of it."""
        found = self.difference
        if found.half_width is None:
            said = "one run a side says nothing about it"
        elif found.equivalent:
            said = f"equivalent within {found.margin:g} AP"
        else:
            said = f"not shown to be equivalent within {found.margin:g} AP"
        return (
            f"{self.protocol}, {self.row.name}: {TASK_NAMES[self.task]} AP in {self.precision} minus that in the "
            f"protocol's precision {difference_text(found)}; {said}."
        )


def precision_differences(tables: Sequence[Table]) -> list[PrecisionDifference]:
    """Return the differences of all settings that were run in the protocol's precision and in another one."""
    return [
        PrecisionDifference(other.protocol, row, task, str(other.overrides[OVERRIDE]), made)
        for other, own in _pairs(tables)
        for row, reference in _same_settings(other, own)
        for task in TASK_NAMES
        if (
            made := compare(row.values.get((task, "AP"), []), reference.values.get((task, "AP"), []), margin=own.margin)
        )
    ]


def _pairs(tables: Sequence[Table]) -> Iterator[tuple[Table, Table]]:
    """Yield tables that differ in the precision alone: first the one whose runs changed it."""
    for other in tables:
        if OVERRIDE in other.overrides:
            rest = {key: value for key, value in other.overrides.items() if key != OVERRIDE}
            for own in tables:
                if (own.protocol, own.data, own.fraction, own.overrides) == (
                    other.protocol, other.data, other.fraction, rest,
                ):  # fmt: skip
                    yield other, own


def _same_settings(other: Table, own: Table) -> Iterator[tuple[MeasuredRow, MeasuredRow]]:
    by_setting = {row.setting: row for row in own.measured if row.origin == "measured"}
    for row in other.measured:
        if row.setting in by_setting:
            yield row, by_setting[row.setting]
