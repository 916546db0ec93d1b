"""The work of ``miniature.py``: the claim in miniature, from its plan and its records."""

from pathlib import Path
from typing import Any

from benchmark.core.files import write_text
from benchmark.records import scan_records
from pretrain.studies.config import MiniatureConfig
from pretrain.studies.miniature_figure import draw
from pretrain.studies.miniature_plan import (
    RUNS,
    SEARCH,
    Candidate,
    Plan,
    candidates,
    read_plan,
    runs_suite,
    search_suite,
    suite_text,
)
from pretrain.studies.miniature_tables import answers, rows
from pretrain.studies.output import check_output, markdown_table, write_csv, write_figure
from pretrain.studies.probed import Probed, diverged, of_setting, probes


def study(config: MiniatureConfig) -> int:
    """Write what the records allow. Raises ``UserError``."""
    folder = Path(config.folder)
    plan = read_plan(folder / "plan.yaml")
    check_output(folder)
    records, _ = scan_records(Path(config.records) if config.records else folder / "records")
    found = probes(records)
    write_text(folder / SEARCH, suite_text(search_suite(plan), "miniature"))
    accuracies = searched(plan, found, diverged(records))
    chosen = choose(plan, accuracies)
    open_ones = [name for name in plan.methods if name not in chosen]
    print(f"learning rates: {len(chosen)} of {len(plan.methods)} settings are decided")
    if chosen:
        write_csv(folder / "learning_rates.csv", search_rows(accuracies, chosen))
    if open_ones:
        print(f"still to be searched: {', '.join(open_ones)}; run the suite {folder / SEARCH}")
        return 0
    write_text(folder / RUNS, suite_text(runs_suite(plan, {name: c.factor for name, c in chosen.items()}), "miniature"))
    write_results(folder, plan, found, chosen)
    return 0


def searched(plan: Plan, found: list[Probed], broken: set[str]) -> dict[Candidate, float | None]:
    """Return the accuracy of every candidate on the hold-out: 0 where it diverged, None where it has not run."""
    values: dict[Candidate, float | None] = {}
    for candidate in candidates(plan):
        one = of_setting(found, candidate.name)
        values[candidate] = one[0].value(plan.outcomes.primary) if one else (0.0 if candidate.name in broken else None)
    return values


def choose(plan: Plan, accuracies: dict[Candidate, float | None]) -> dict[str, Candidate]:
    """Return the candidate of every setting whose candidates have all run: the best, of equals the nearest to 1."""
    chosen = {}
    for name in plan.methods:
        tried = {candidate: value for candidate, value in accuracies.items() if candidate.setting == name}
        if None not in tried.values():
            chosen[name] = max(tried, key=lambda c: (tried[c], -max(c.factor, 1 / c.factor)))
    return chosen


def search_rows(accuracies: dict[Candidate, float | None], chosen: dict[str, Candidate]) -> list[dict[str, Any]]:
    """Return every candidate with its accuracy on the hold-out, and which was chosen."""
    return [
        {
            "setting": c.setting,
            "factor": c.factor,
            "lr": c.lr,
            "top1 on the hold-out": value,
            "chosen": "yes" if chosen.get(c.setting) == c else "",
        }
        for c, value in accuracies.items()
    ]


def write_results(folder: Path, plan: Plan, found: list[Probed], chosen: dict[str, Candidate]) -> None:
    """Write tables and figure of the study itself; holes are shown as holes."""
    table = rows(plan, found, {name: c.lr for name, c in chosen.items()})
    write_csv(folder / "table.csv", table.numbers)
    asked = answers(plan, found)
    write_csv(folder / "comparisons.csv", asked.numbers)
    text = f"{markdown_table(table.words)}\n{markdown_table(asked.words)}\n{table.note}\n"
    write_text(folder / "table.md", text)
    write_figure(folder / "figure.png", draw(plan, found))
    print(text)
    print(f"done: {folder}")
