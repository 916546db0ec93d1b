"""The first sentence of the page: what the records answer, with its uncertainty, or that they do not answer it."""

from collections.abc import Sequence

from benchmark.comparison.repeats import Difference
from benchmark.comparison.rows import TASK_NAMES, MeasuredRow, Table
from benchmark.comparison.wording import signed

QUESTION = "How much does self-supervised pre-training help detection and segmentation, and is the difference real?"
OURS = "kernel_ssl"
EMBEDDED = "embedded"


def main_table(tables: Sequence[Table]) -> Table | None:
    """Return the table that answers the question best: COCO before VOC before the embedded set, then most runs."""
    measured = [table for table in tables if any(row.values for row in table.measured)]
    rank = {"coco": 0, "voc": 1, EMBEDDED: 3}
    return min(
        measured,
        key=lambda table: (rank.get(table.data, 2), bool(table.overrides), -sum(row.runs for row in table.measured)),
        default=None,
    )


def main_row(table: Table) -> MeasuredRow | None:
    """Return the row that the answer speaks of: ours if it was run, else the first method, at its longest training."""
    rows = [row for row in table.measured if row.values and table.control_of(row) is not None]
    ours = [row for row in rows if row.setting.method == OURS] or rows
    return max(ours, key=lambda row: (row.setting.epochs or 0, row.runs), default=None)


def answer(tables: Sequence[Table]) -> tuple[str, tuple[str, ...]]:
    """Return the answer in one sentence, and sentences that belong to it."""
    table = main_table(tables)
    if table is None:
        return "No detector has been measured here yet; the tables of detection quote published figures.", ()
    more = _more(table)
    row = main_row(table)
    if row is None:
        return (
            f"On {table.protocol} there are measurements, but none of the untrained encoder, so they do not say "
            "how much pre-training helps.",
            more,
        )
    found = table.against_control(row, "bbox")
    if found is None:
        return f"On {table.protocol} no run of {row.label} and of its control gave an average precision.", more
    who = f"{row.label} after {row.setting.epochs_text} of pre-training" if row.setting.epochs else row.label
    return f"On {table.protocol}, {who} {_said(found, 'the untrained encoder', TASK_NAMES['bbox'])}", more


def _said(found: Difference, control: str, kind: str) -> str:
    """Return a difference as the end of a sentence, with its interval and what it rests on."""
    value = f"{abs(found.mean):.1f} {kind} AP {'above' if found.mean >= 0 else 'below'} {control}"
    if found.half_width is None:
        return f"is {value}, from one run a side: a single run says nothing about chance."
    low, high = found.interval or (found.mean, found.mean)
    decimals = 1 if min(abs(low), abs(high)) >= 0.05 else 2
    basis = f"95 % interval {signed(low, decimals)} to {signed(high, decimals)} over {found.covers}, "
    basis += f"{found.n} {'pairs' if found.paired else 'a side'}"
    if found.equivalent:
        return f"is equivalent to {control} within {found.margin:g} AP: {signed(found.mean, 1)} {kind} AP ({basis})."
    if found.verdict == "within noise":
        return f"cannot be told apart from {control}: {signed(found.mean, 1)} {kind} AP ({basis})."
    doubt = "" if found.verdict in ("better", "worse") else f"; {found.verdict.split(', ', 1)[1]}"
    return f"is {value} ({basis}{doubt})."


def _more(table: Table) -> tuple[str, ...]:
    sentences = []
    lengths = [comparison for comparison in table.comparisons("bbox") if comparison.kind == "length"]
    lengths.sort(key=lambda comparison: comparison.row.setting.method != OURS)
    for comparison in lengths[:3]:
        control = f"the same method after {comparison.reference.setting.epochs_text}"
        who = f"{comparison.row.label} after {comparison.row.setting.epochs_text}"
        sentences.append(f"{who} {_said(comparison.difference, control, 'box')}")
    if table.data == EMBEDDED:
        sentences.append(
            "These runs used the embedded photographs for a few minutes. They show that every step works; they say "
            "nothing about COCO or about the methods."
        )
    return tuple(sentences)
