"""The tables of the miniature study: every setting with its outcomes, and the comparisons that the plan asks for."""

from dataclasses import dataclass
from typing import Any

from benchmark.comparison.inference import ALPHA, holm
from benchmark.comparison.repeats import Difference, Level, Pool, Units, compare, pool, units_of
from pretrain.studies.miniature_plan import Plan, setting_name
from pretrain.studies.probed import RANDOM, Probed, of_setting, repeats, spread

Rows = list[dict[str, Any]]
NOT_DECIDED = "not decided"


@dataclass(frozen=True)
class Table:
    """One table twice: ``numbers`` for a CSV file, ``words`` for people; ``note`` says how to read it."""

    numbers: Rows
    words: Rows
    note: str = ""


def settings(plan: Plan) -> list[tuple[str, int | None]]:
    """Return all settings of the study, (name, epochs): the floor, the methods at E and 2E, the ceiling."""
    trained = [*plan.methods, "supervised"]
    return [(RANDOM, None), *((name, epochs) for name in trained for epochs in plan.epochs)]


def in_suite(name: str, epochs: int | None) -> str:
    """Return the name that a setting has in the suite."""
    return name if epochs is None else setting_name(name, epochs)


def rows(plan: Plan, found: list[Probed], lrs: dict[str, float]) -> Table:
    """Return all settings with the mean over seeds of every outcome and its 95 % interval; missing seeds are said."""
    outcomes = [plan.outcomes.primary, *plan.outcomes.secondary, *plan.outcomes.beside]
    numbers, words = [], []
    for name, epochs in settings(plan):
        ours = of_setting(found, in_suite(name, epochs))
        head = {"setting": name, "epochs": "" if epochs is None else epochs, "lr": lrs.get(name, "")}
        row, said = head | {"seeds": len(ours)}, head | {"seeds": f"{len(ours)} of {len(plan.seeds)}"}
        for metric in outcomes:
            value = spread(ours, metric)
            row[metric] = None if value is None else value.mean
            row[f"{metric} half width"] = None if value is None else value.half
            said[metric] = "not run" if value is None else value.text()
        numbers.append(row)
        words.append(said)
    return Table(numbers, words, _note(plan, found))


def _note(plan: Plan, found: list[Probed]) -> str:
    names = {in_suite(name, epochs) for name, epochs in settings(plan)}  # without the search, which has a hold-out
    known = [p.image_half_width(plan.outcomes.primary) for p in found if p.setting in names]
    widths = [half for half in known if half is not None]
    images = (
        f" An accuracy itself is known to about ± {sum(widths) / len(widths):.1f} (bootstrap over test images)."
        if widths
        else ""
    )
    return (
        "Accuracies are top-1 in percent on the test photographs; ± is half of the 95 % interval over pre-training "
        f"seeds.{images} Ranks are of the training photographs' features."
    )


def answers(plan: Plan, found: list[Probed]) -> Table:
    """Return the comparisons of the plan in its primary and secondary outcomes, corrected by Holm within each."""
    numbers, words = [], []
    for metric in [plan.outcomes.primary, *plan.outcomes.secondary]:
        pools = _pools(plan, found, metric)
        made = [(ours, other, _compare(plan, found, ours, other, metric, pools)) for ours, other in _asked(plan)]
        tested = [d.p for *_, d in made if d is not None and d.p is not None]
        corrected = iter(holm(tested))
        for ours, other, difference in made:
            p = next(corrected) if difference is not None and difference.p is not None else None
            head = {"metric": metric, "setting": ours, "epochs": plan.epochs[0], "against": other}
            head["its epochs"] = plan.epochs[1]
            verdict = NOT_DECIDED if difference is None else verdict_of(difference, p)
            numbers.append(head | _numbers(difference, p) | {"verdict": verdict})
            words.append(head | {"difference": _text(difference)} | {"verdict": verdict})
    return Table(numbers, words)


def _asked(plan: Plan) -> list[tuple[str, str]]:
    return [(ours, other) for ours in plan.comparisons.of for other in plan.comparisons.against]


def _compare(
    plan: Plan, found: list[Probed], ours: str, other: str, metric: str, pools: dict[Level, Pool]
) -> Difference | None:
    short, long = plan.epochs
    one, two = (of_setting(found, setting_name(name, epochs)) for name, epochs in ((ours, short), (other, long)))
    return compare(repeats(one, metric), repeats(two, metric), pools, plan.comparisons.margin)


def _pools(plan: Plan, found: list[Probed], metric: str) -> dict[Level, Pool]:
    """Return the sd that the settings share, where Bartlett's test does not object."""
    levels: dict[Level, list[Units]] = {}
    for name, epochs in settings(plan):
        values = repeats(of_setting(found, in_suite(name, epochs)), metric)
        if values and name != RANDOM:
            units = units_of(values)
            levels.setdefault(units.level, []).append(units)
    made = {level: pool(samples) for level, samples in levels.items() if level[1] is not None}
    return {level: shared for level, shared in made.items() if shared is not None}


def verdict_of(difference: Difference, p_holm: float | None) -> str:
    """Return ``better``, ``worse``, ``equivalent`` or ``not decided`` by the rule of the plan."""
    if p_holm is None:
        return NOT_DECIDED
    if p_holm < ALPHA:
        return "better" if difference.mean > 0 else "worse"
    if difference.p_equivalence is not None and difference.p_equivalence < ALPHA:
        return "equivalent"
    return NOT_DECIDED


def _numbers(difference: Difference | None, p: float | None) -> dict[str, Any]:
    if difference is None:
        return dict.fromkeys(("difference", "half width", "p", "p after Holm", "p of equivalence"))
    values = (difference.mean, difference.half_width, difference.p, p, difference.p_equivalence)
    return dict(zip(("difference", "half width", "p", "p after Holm", "p of equivalence"), values, strict=True))


def _text(difference: Difference | None) -> str:
    if difference is None:
        return "not run"
    width = "one seed" if difference.half_width is None else f"± {difference.half_width:.1f}"
    return f"{difference.mean:+.1f} {width}"
