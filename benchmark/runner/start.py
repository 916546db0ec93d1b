"""From the options to a suite that runs: plan it, refuse a second runner, run or submit what is left, report."""

import json
from dataclasses import dataclass
from pathlib import Path

from benchmark.core.errors import RunFailed, UserError
from benchmark.core.folder import RESULTS, ROOT, check_writable
from benchmark.core.lock import lock_folder
from benchmark.core.log import say
from benchmark.records import RunRecord, scan_records
from benchmark.runner import local, slurm
from benchmark.runner.config import SuiteConfig
from benchmark.runner.cost import Costs
from benchmark.runner.display import Display
from benchmark.runner.machine import accelerators, shares
from benchmark.runner.overview import as_json, counts, left_lines, overview, power_line
from benchmark.runner.planned import PlannedRun, planned_runs
from benchmark.runner.power import powers
from benchmark.runner.state import OVER, State, states
from benchmark.runner.suite import FOLDERS, Suite, missing, read_suite, shipped_suites, suite_path


@dataclass(frozen=True)
class Prepared:
    """A suite, resolved: its name, its runs in order, their states, and the records that are there."""

    name: str
    runs: list[PlannedRun]
    states: dict[str, State]
    records: list[RunRecord]
    output: Path
    folder: Path


def start(config: SuiteConfig) -> int:
    """Do what the options say; return 0. Raises ``UserError``, and ``RunFailed`` when a run did not complete."""
    if config.list:
        print("\n".join(f"{path.stem:<24} {read_suite(path).description}" for path in shipped_suites()))
        return 0
    suite, ready = resolve(config)
    costs, power = Costs(ready.records), powers(ready.runs, ready.records)
    if config.json:
        print(json.dumps(as_json(ready.name, ready.runs, ready.states, costs, power), indent=1, allow_nan=False))
        return 0
    if config.plan:
        print(f"{suite.description}\n")
        print("\n".join(overview(ready.runs, ready.states, costs, power)))
        return 0
    if config.cancel:
        print(f"cancelled: {', '.join(slurm.cancel(ready.output)) or 'no job is there'}")
        return 0
    if lacking := missing(suite):
        raise UserError(
            f"suite {ready.name} needs {', '.join(f'--{name}' for name in lacking)}; --plan shows its runs."
        )
    check_writable(ready.output, "--output")
    check_writable(ready.folder, "--records")
    ready.output.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(ready.output, wait=0)  # a second runner is refused: it would start the same runs
    try:
        print(f"{ready.name}: {counts(ready.states)}; into {ready.output}, records into {ready.folder}")
        print("\n".join([*left_lines(ready.runs, ready.states, costs), *map(power_line, power)]), flush=True)
        problems = work(config, ready, costs)
    finally:
        lock.release()
    return finish(config, ready, problems)


def resolve(config: SuiteConfig) -> tuple[Suite, Prepared]:
    """Return the suite and its runs with their states. Raises ``UserError`` for a mistake in it."""
    path = suite_path(config.suite)
    given = {name: _given(getattr(config, name)) for name in FOLDERS} | {"weights": config.weights or None}
    suite = read_suite(path, given)
    if config.hours is not None:
        kinds = ("pretrain", "coco", "voc", "classify")
        limited = {kind: suite.of(kind).model_copy(update={"hours": float(config.hours)}) for kind in kinds}
        suite = suite.model_copy(update={"resources": limited})
    folder = _portable(config.records or RESULTS / "records")
    output = _portable(config.output or RESULTS / "runs" / path.stem)
    runs = planned_runs(suite, path, output, folder)
    records, problems = scan_records(folder)
    for problem in problems[:3]:
        say(f"warning: {problem}")
    return suite, Prepared(path.stem, runs, states(runs, records), records, output, folder)


def _portable(folder: str | Path) -> Path:
    """Return a folder as the runs and their records name it: relative where it lies below the current folder.

    Records are shared and committed; they should not hold the paths of somebody's machine where they need not.
    """
    there = Path(folder).absolute()
    return there.relative_to(Path.cwd()) if there.is_relative_to(Path.cwd()) else there


def _given(folder: str | None) -> str | None:
    return None if folder is None else str(_portable(folder))


def work(config: SuiteConfig, ready: Prepared, costs: Costs) -> list[str]:
    """Run or submit what is not over, and wait for it; return one line for each run that did not complete."""
    left = [run for run in ready.runs if ready.states[run.name].name not in OVER]
    diverged = {name: state.detail or "diverged" for name, state in ready.states.items() if state.name == "diverged"}
    if config.cluster == "slurm":
        failed = diverged | {run.name: f"{run.needs} did not complete" for run in left if run.needs in diverged}
        failed |= _on_slurm(config, [run for run in left if run.needs not in diverged], ready.output)
    else:
        places = shares(accelerators(), min(config.jobs, max(len(left), 1)))
        hours = {run.name: costs.of(run).gpu_hours for run in left}
        display = Display(left, hours, len(places))
        ended = local.run_all(left, places, ready.output, display, local.Ended(failed=diverged))
        failed = ended.failed | ended.not_started
    return [f"{name} ({reason})" for name, reason in failed.items()]


def _on_slurm(config: SuiteConfig, runs: list[PlannedRun], output: Path) -> dict[str, str]:
    """Submit runs and watch them to their end; return those that did not complete, with the reason."""
    cluster = slurm.Cluster(
        config.partition, config.account, config.qos, config.cpus_per_gpu, config.signal_seconds, config.sbatch
    )
    jobs = slurm.submit(runs, output, cluster)
    return slurm.watch(jobs, {run.name: run for run in runs}, float(config.poll_seconds))


def finish(config: SuiteConfig, ready: Prepared, problems: list[str]) -> int:
    """Make the report and say where the pictures are. Raises ``RunFailed`` for runs that did not complete."""
    if config.report:
        words = [str(ROOT / "benchmark" / "report.py"), "--records", str(ready.folder)]
        reported = local.call([*words, "--output", str(ready.folder.parent)])
        problems = problems + ([] if reported == 0 else ["report"])
    pictures = [path for run in ready.runs if (path := run.output / "predictions.png").is_file()]
    if pictures:
        print("predictions beside ground truth:", *pictures, sep="\n  ")
    if problems:
        raise RunFailed(
            f"{len(problems)} of {len(ready.runs)} runs did not complete: {'; '.join(problems)}; the same command "
            "tries them again."
        )
    return 0
