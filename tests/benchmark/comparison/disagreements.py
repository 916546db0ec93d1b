"""Where sources of published figures disagree: the list of docs/published.md."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations

from benchmark.comparison.published import ORIGINS, Figure


def disagreements(figures: Iterable[Figure]) -> list[list[Figure]]:
    """Return the figures of one method, length and protocol that sources state differently, most trusted first.

    Figures of different stated batches, or of sources whose settings differ differently, are no contradiction.
    """
    groups: dict[tuple, list[Figure]] = defaultdict(list)
    for f in figures:
        groups[f.method, f.variant, f.epochs, f.task, f.protocol or f.schedule, f.differs, f.metric].append(f)
    found = [sorted(group, key=lambda f: ORIGINS.index(f.origin)) for group in groups.values() if _contradict(group)]
    return sorted(found, key=lambda group: (group[0].task, group[0].method, group[0].epochs or 0, group[0].metric))


def _contradict(group: Sequence[Figure]) -> bool:
    return any(
        a.value != b.value and (a.batch == b.batch or not a.batch or not b.batch) for a, b in combinations(group, 2)
    )


def disagreements_markdown(figures: Iterable[Figure]) -> str:
    """Return the disagreements as a Markdown table, the most trusted figure first; ``docs/published.md`` holds it."""
    lines = ["| method | epochs | protocol or task | metric | figures |", "| --- | --- | --- | --- | --- |"]
    found = disagreements(figures)
    for group in found:
        first = group[0]
        method = f"{first.method} ({first.variant})" if first.variant else first.method
        values = "; ".join(f"{figure.value:g} ({figure.origin}: {figure.source})" for figure in group)
        where = first.protocol or first.task
        lines.append(f"| {method} | {first.epochs or ''} | {where} | {first.metric.replace('_', ' ')} | {values} |")
    return "\n".join(lines) + f"\n\n{len(found)} figures on which sources disagree.\n"
