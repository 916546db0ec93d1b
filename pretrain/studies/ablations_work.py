"""The work of ``ablations.py``: what the parts of Kernel-SSL do, from a plan and its records."""

import csv
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.core.errors import UserError
from benchmark.core.files import write_text
from benchmark.core.options import load_yaml
from benchmark.records import scan_records
from pretrain.studies.config import AblationConfig
from pretrain.studies.miniature_plan import Options, pretraining, probe_options, read_plan, suite_text
from pretrain.studies.output import COLOURS, check_output, markdown_table, write_csv, write_figure
from pretrain.studies.probed import Probed, of_setting, probes, spread

SUITE = "suite.yaml"


class AblationPlan(BaseModel):
    """The plan: groups of settings, each the options in which it differs from ``setting`` of the study ``base``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    base: str
    setting: str
    seeds: list[int]
    groups: dict[str, dict[str, Options]]
    outcomes: list[str]


def study(config: AblationConfig) -> int:
    """Write suite, tables and figure. Raises ``UserError``."""
    folder = Path(config.folder)
    plan = read_ablations(folder / "plan.yaml")
    check_output(folder)
    write_text(folder / SUITE, suite_text(suite(plan, folder / plan.base), "ablations"))
    records, _ = scan_records(Path(config.records) if config.records else folder / "records")
    found = probes(records)
    rows = [row for group in plan.groups for row in table(plan, group, found)]
    write_csv(folder / "table.csv", rows)
    text = "".join(f"{group}\n\n{markdown_table(_said(plan, group, found))}\n" for group in plan.groups)
    write_text(folder / "table.md", text)
    write_figure(folder / "figure.png", draw(plan, found))
    print(text)
    print(f"done: {folder}; the suite is {folder / SUITE}")
    return 0


def read_ablations(path: Path) -> AblationPlan:
    """Return the plan. Raises ``UserError`` when the file is not one, or gives one name two meanings."""
    try:
        plan = AblationPlan.model_validate(load_yaml(path))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise UserError(f"{path}: {'.'.join(map(str, problem['loc']))}: {problem['msg'].lower()}.") from None
    meant: dict[str, Options] = {}
    for settings in plan.groups.values():
        for name, options in settings.items():
            if meant.setdefault(name, options) != options:
                raise UserError(f"{path}: {name!r} stands for different options in two groups; give them two names.")
    return plan


def suite(plan: AblationPlan, base: Path) -> dict[str, Any]:
    """Return the suite: every setting once, at E epochs, with the learning rate that the study `base` has chosen.

    Raises:
        UserError: that study has not chosen one yet.
    """
    study = read_plan(base / "plan.yaml")
    factor = _factor(base / "learning_rates.csv", plan.setting)
    settings = {name: options for group in plan.groups.values() for name, options in group.items()}
    pretrain = {
        name: pretraining(study, plan.setting, {**study.methods[plan.setting], **options}, study.epochs[0], factor)
        | {"diagnose_every": study.diagnose_every, "seeds": plan.seeds}
        for name, options in settings.items()
    }
    probe = {"script": "classify", "weights": list(pretrain), "seeds": [0]}
    probe["options"] = probe_options(study, study.folder)
    return {"description": "ablations of Kernel-SSL", "pretrain": pretrain, "transfer": [probe]}


def _factor(path: Path, setting: str) -> float:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            chosen = [row for row in csv.DictReader(file) if row["setting"] == setting and row["chosen"]]
    except OSError:
        chosen = []
    if not chosen:
        raise UserError(f"{path} has no learning rate for {setting}; run the search of that study first.")
    return float(chosen[0]["factor"])


def table(plan: AblationPlan, group: str, found: list[Probed]) -> list[dict[str, Any]]:
    """Return the settings of a group with the mean over seeds of every outcome, None for what has not run."""
    return [
        {"group": group, "setting": name, "seeds": len(of_setting(found, name))}
        | {
            metric: None if (s := spread(of_setting(found, name), metric)) is None else s.mean
            for metric in plan.outcomes
        }
        for name in plan.groups[group]
    ]


def _said(plan: AblationPlan, group: str, found: list[Probed]) -> list[dict[str, Any]]:
    return [
        {"setting": name, "options": ", ".join(f"{k} {v}" for k, v in options.items()) or "-"}
        | {m: "not run" if (s := spread(of_setting(found, name), m)) is None else s.text() for m in plan.outcomes}
        for name, options in plan.groups[group].items()
    ]


def draw(plan: AblationPlan, found: list[Probed]) -> Figure:
    """Return the figure: a panel each for the first outcome and the first rank, settings by group, seeds as dots."""
    lines = [(group, name) for group, settings in plan.groups.items() for name in settings]
    figure = Figure(figsize=(10, 0.3 * len(lines) + 1.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, metric in zip(panels, (plan.outcomes[0], "effective_rank"), strict=True):
        for height, (group, name) in enumerate(lines):
            values = [v for probe in of_setting(found, name) if (v := probe.value(metric)) is not None]
            colour = COLOURS[list(plan.groups).index(group) % len(COLOURS)]
            panel.plot(values, [height] * len(values), "o", color=colour)
        panel.set_title("Linear probe (exact), top-1 in %" if metric == "linear_exact" else metric.replace("_", " "))
        panel.grid(axis="x", color="0.9")
        panel.set_axisbelow(True)
    panels[0].set_yticks(range(len(lines)), [f"{group}: {name.replace('_', ' ')}" for group, name in lines])
    panels[0].invert_yaxis()
    return figure
