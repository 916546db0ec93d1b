"""What a suite will do and can show, before it starts: every run with its state, what is left, and the power."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, get_args

from benchmark.comparison.repeats import MARGIN
from benchmark.runner.cost import Costs, left
from benchmark.runner.planned import PlannedRun
from benchmark.runner.power import Power
from benchmark.runner.state import OVER, Name, State


def overview(
    runs: Sequence[PlannedRun], states: Mapping[str, State], costs: Costs, powers: Sequence[Power]
) -> list[str]:
    """Return the plan in lines for people: first the commands, then what is left, then what it can show."""
    lines = []
    for run in runs:
        state, cost = states[run.name], costs.of(run)
        hours = "" if cost.gpu_hours is None else f", {hours_text(cost.gpu_hours)} ({cost.source})"
        more = f" ({state.detail})" if state.detail else ""
        lines += [f"# {run.name}: {state.name}{more}{hours}", run.command]
    lines += ["", counts(states), *left_lines(runs, states, costs)]
    lines += [power_line(power) for power in powers]
    return lines


def counts(states: Mapping[str, State]) -> str:
    """Return ``9 runs: 2 done, 1 running, 6 to do``."""
    found = [state.name for state in states.values()]
    parts = [f"{found.count(name)} {name}" for name in get_args(Name) if name in found]
    return f"{len(found)} runs: {', '.join(parts)}"


def left_lines(runs: Sequence[PlannedRun], states: Mapping[str, State], costs: Costs) -> list[str]:
    """Return what is left, in GPU hours, and of how many runs that is not known."""
    hours, unknown = left(runs, states, costs)
    if all(state.name in OVER for state in states.values()):
        return ["nothing is left to run"]
    more = f"; of {unknown} runs it is not known" if unknown else ""
    return [f"left to run: {hours_text(hours)}{more}" if hours else f"left to run: not known for {unknown} runs"]


def hours_text(hours: float) -> str:
    """Return ``57 GPU hours``, ``0.4 GPU hours``."""
    return f"{hours:,.0f} GPU hours" if hours >= 10 else f"{hours:.2g} GPU hours"


def power_line(power: Power) -> str:
    """Return what one comparison can show, as a sentence."""
    if not power.sds:
        return (
            f"{power.comparison}: what {power.repeats} {power.units} a side can show is not known before some have run"
        )
    spread = f"sd {_range(power.sds)}, {power.source}"
    if power.repeats < 2:
        needed = _range([runs for runs in power.runs_for_margin if runs])
        return (
            f"{power.comparison}: one run a side shows no difference; {needed} a side would see {MARGIN} AP ({spread})"
        )
    smallest = _range([value for value in power.smallest if value is not None])
    about = "" if power.units == "checkpoints" else "; about these checkpoints, each has one pre-training seed"
    return (
        f"{power.comparison}: {power.repeats} {power.units} a side show a difference of {smallest} AP with 80 % power "
        f"({spread}){about}"
    )


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"


def as_json(
    name: str, runs: Sequence[PlannedRun], states: Mapping[str, State], costs: Costs, powers: Sequence[Power]
) -> dict[str, Any]:
    """Return the plan as plain values for machines."""
    hours, unknown = left(runs, states, costs)
    return {
        "suite": name,
        "runs": [
            {
                "name": run.name,
                "kind": run.kind,
                "command": run.command,
                "output": str(run.output),
                "needs": run.needs,
                "processes": run.resources.processes,
                "hours": run.resources.hours,
                "state": states[run.name].name,
                "detail": states[run.name].detail,
                "record": record.id if (record := states[run.name].record) else None,
                "gpu_hours": costs.of(run).gpu_hours,
                "gpu_hours_source": costs.of(run).source,
            }
            for run in runs
        ],
        "gpu_hours_left": hours,
        "runs_of_unknown_cost": unknown,
        "power": [asdict(power) for power in powers],
    }
