"""The work of ``over_training.py``: does the rank of features tell how good they are, during training?."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from scipy import stats

from benchmark.comparison.methods import name_of
from benchmark.core.errors import UserError
from benchmark.core.files import write_text
from benchmark.records import scan_records
from pretrain.studies.config import OverTrainingConfig
from pretrain.studies.miniature_plan import Plan, probe_options, read_plan, setting_name, suite_text
from pretrain.studies.output import COLOURS, check_output, markdown_table, write_csv, write_figure
from pretrain.studies.probed import FOLDER, KEPT, Probed, all_probes

RANKS = ("effective_rank", "intra_class_effective_rank")
ACCURACIES = ("linear_exact", "knn")
SUITE = "over_training.yaml"
FEWEST = 4  # checkpoints of one run for a correlation


def study(config: OverTrainingConfig) -> int:
    """Write the suite, and table, correlations and figure of what has run. Raises ``UserError``."""
    folder = Path(config.folder)
    plan = read_plan(folder / "plan.yaml")
    check_output(folder)
    records, _ = scan_records(Path(config.records) if config.records else folder / "records")
    found = of_plan(plan, all_probes(records))
    if kept := checkpoints(plan, Path(config.runs)):
        write_text(folder / SUITE, suite_text(suite(plan, kept), "over_training"))
        print(f"{len(kept)} checkpoints; benchmark/run.py --suite {folder / SUITE} probes them")
    elif not found:
        raise UserError(f"{config.runs} holds no kept checkpoints of {', '.join(plan.over_training.methods)}, and the "
                        f"records none of their probes; run the suite of the study first.")  # fmt: skip
    if found:
        write_csv(folder / "over_training.csv", rows(found))
        text = markdown_table(correlations(plan, found))
        write_text(folder / "over_training.md", text)
        write_figure(folder / "over_training.png", draw(plan, found))
        print(text)
    return 0


def checkpoints(plan: Plan, runs: Path) -> list[Path]:
    """Return the kept checkpoints of the methods that the plan follows, sorted."""
    wanted = {setting_name(name, plan.epochs[1]) for name in plan.over_training.methods}
    found = [path for path in runs.glob("pretrain-*/checkpoint_*.pth") if KEPT.match(path.name)]
    return sorted(path for path in found if (name := FOLDER.match(path.parent.name)) and name["setting"] in wanted)


def suite(plan: Plan, kept: list[Path]) -> dict[str, Any]:
    """Return the suite that probes kept checkpoints; records name them as it does, from where the command was given."""
    here = Path.cwd()
    weights = [str(path.relative_to(here) if path.is_relative_to(here) else path) for path in kept]
    probe = {"script": "classify", "weights": weights, "seeds": [0]}
    return {"description": "probes over training", "transfer": [probe | {"options": probe_options(plan, plan.folder)}]}


def of_plan(plan: Plan, found: list[Probed]) -> list[Probed]:
    """Return the probes of the runs that the plan follows; the last checkpoint has the whole length as its epoch."""
    last = plan.epochs[1]
    wanted = {setting_name(name, last): name for name in plan.over_training.methods}
    named = [
        Probed(wanted[p.setting], p.seed, p.record, last if p.epoch is None else p.epoch)
        for p in found
        if p.setting in wanted
    ]
    return sorted(named, key=lambda probe: (probe.setting, probe.seed, probe.epoch or 0))


def rows(found: list[Probed]) -> list[dict[str, Any]]:
    """Return one row a probe."""
    return [
        {"method": p.setting, "seed": p.seed, "epoch": p.epoch} | {m: p.value(m) for m in (*RANKS, *ACCURACIES)}
        for p in found
    ]


def correlations(plan: Plan, found: list[Probed]) -> list[dict[str, Any]]:
    """Return Spearman's rank correlation over the checkpoints of each run, the mean over seeds, method by method.

    Checkpoints of one run are no independent draws, so no p-value stands beside it.
    """
    table = []
    for name in plan.over_training.methods:
        row: dict[str, Any] = {"method": name}
        ours = [probe for probe in found if probe.setting == name]
        seeds = [seed for seed in plan.seeds if sum(probe.seed == seed for probe in ours) >= FEWEST]
        row["runs"] = len(seeds)
        for rank in RANKS:
            for accuracy in ACCURACIES:
                values = [_spearman([p for p in ours if p.seed == seed], rank, accuracy) for seed in seeds]
                text = f"{sum(values) / len(values):+.2f}" if values else "not run"
                row[f"{rank.replace('_', ' ')} and {accuracy.replace('_', ' ')}"] = text
        table.append(row)
    return table


def _spearman(run: list[Probed], rank: str, accuracy: str) -> float:
    pairs = [(p.value(rank), p.value(accuracy)) for p in run]
    return float(stats.spearmanr(*zip(*pairs, strict=True)).statistic)


def draw(plan: Plan, found: list[Probed]) -> Figure:
    """Return the figure: accuracy against each rank, one line a run, from small dots (early) to large ones (late)."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    panels = figure.subplots(1, len(RANKS), sharey=True)
    for panel, metric in zip(panels, RANKS, strict=True):
        for colour, name in zip(COLOURS, plan.over_training.methods, strict=False):
            for seed in plan.seeds:
                run = [p for p in found if (p.setting, p.seed) == (name, seed)]
                x, y = [p.value(metric) for p in run], [p.value(ACCURACIES[0]) for p in run]
                panel.plot(
                    x, y, color=colour, linewidth=1, alpha=0.6, label=name_of(name) if seed == plan.seeds[0] else None
                )
                panel.scatter(x, y, s=[8 + 40 * (p.epoch or 0) / plan.epochs[1] for p in run], color=colour)
        panel.set_xlabel(metric.replace("_", " "))
        panel.grid(color="0.92")
        panel.set_axisbelow(True)
    panels[0].set_ylabel("linear probe (exact), top-1 in %")
    panels[0].legend(frameon=False, fontsize=8, title="a line a run; large dots are late", title_fontsize=8)
    return figure
