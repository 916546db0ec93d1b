"""``python benchmark/run.py --suite demo``: the runs of one comparison, started one after another as commands.

A suite is a YAML file: pre-training runs by name, then fine-tuning runs over weights and seeds. Every run is the
command that a person would type, in its own process and folder; a suite that was interrupted continues, since every
run resumes or, when complete, only says so. A run ends with the suite, however that ends: an orphan would hold its
folder's lock against the suite's next start.
"""

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.core.errors import RunFailed, UserError, nearest, run_command
from benchmark.core.folder import RESULTS, ROOT
from benchmark.core.options import load_yaml, option, parse

DESCRIPTION = "Run a suite: every pre-training and fine-tuning run of one comparison, then the report."
SUITES = Path(__file__).resolve().parent / "suites"
SCRIPTS = {"coco": "transfer/coco.py", "voc": "transfer/voc.py", "classify": "transfer/classify.py"}
NO_CHECKPOINT = ("random", "detectron2-random")
INTERRUPTED = (130, -signal.SIGINT)  # exit codes of a run that was stopped by Ctrl-C


@dataclass(frozen=True)
class SuiteConfig:
    """Options of the suite runner."""

    suite: str = option("demo", "name of a suite in benchmark/suites, or a YAML file", group="Suite")
    plan: bool = option(False, "print the commands and stop", group="Suite")
    output: str | None = option(None, "folder for all runs; default results/runs/<suite>", group="Files")
    records: str | None = option(None, "folder of records; default results/records", group="Files")
    report: bool = option(True, "make the report at the end, into the folder above the records", group="Files")


@dataclass(frozen=True)
class Step:
    """One command of a suite: ``name`` of its folder, ``arguments`` after the interpreter, names it ``needs``."""

    name: str
    arguments: tuple[str, ...]
    output: Path
    needs: str | None = None

    def __str__(self) -> str:
        return shlex.join(["python", *self.arguments])


def main(argv: list[str] | None = None) -> int:
    """Run or print the suite. Raises ``RunFailed`` when a run did not complete."""
    config = parse(SuiteConfig, argv, "python benchmark/run.py", DESCRIPTION)
    path = suite_path(config.suite)
    records = Path(config.records or RESULTS / "records").absolute()
    output = Path(config.output or RESULTS / "runs" / path.stem).absolute()
    steps = plan(load_yaml(path), path, output, records)
    if config.plan:
        print("\n".join(str(step) for step in steps))
        return 0
    print(f"{path.stem}: {len(steps)} runs into {output}, records into {records}", flush=True)
    with termination_as_interrupt():
        failed = run_steps(steps)
        if config.report:
            script = str(ROOT / "benchmark" / "report.py")
            if call([script, "--records", str(records), "--output", str(records.parent)]) != 0:
                failed.append("report")
    pictures = [step.output / "predictions.png" for step in steps if (step.output / "predictions.png").is_file()]
    if pictures:
        print("predictions beside ground truth:", *pictures, sep="\n  ")
    if failed:
        raise RunFailed(f"{len(failed)} of {len(steps)} runs did not complete: {', '.join(failed)}; see above.")
    return 0


def suite_path(name: str) -> Path:
    """Return the file of a suite given by name or path. Raises ``UserError`` with the nearest name."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else SUITES / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in SUITES.glob("*.yaml"))
        raise UserError(
            f"there is no suite {name!r}{nearest(name, known)} Suites are {', '.join(known)} or a YAML file."
        )
    return path


def plan(suite: Any, path: Path, output: Path, records: Path) -> list[Step]:
    """Turn a suite's content into steps in order. Raises ``UserError`` for an unknown key or a name not defined."""
    _check_keys(suite, {"description": str, "pretrain": dict, "transfer": list}, path)
    steps = []
    for name, options in (suite.get("pretrain") or {}).items():
        if not isinstance(options, (dict, type(None))):
            raise UserError(f"{path}: pretrain {name!r} should hold options such as {{epochs: 400}}, not {options!r}.")
        folder = output / f"pretrain-{name}"
        arguments = [str(ROOT / "pretrain" / "run.py"), *flags(options or {})]
        arguments += ["--output", str(folder), "--records", str(records)]
        steps.append(Step(f"pretrain-{name}", tuple(arguments), folder))
    pretrained = {step.name.removeprefix("pretrain-"): step for step in steps}
    for entry in suite.get("transfer") or []:
        kinds = {"script": str, "weights": list, "seeds": list, "options": dict, "overrides": list}
        _check_keys(entry, kinds, path)
        # Seed by seed: an interrupted suite then holds whole comparisons, not many repeats of one row.
        for seed in entry.get("seeds", [0]):
            for weights in entry.get("weights", ["random"]):
                steps.append(_transfer_step(entry, str(weights), seed, pretrained, path, output, records))
    if not steps:
        raise UserError(f"{path} has no runs; give it 'pretrain' or 'transfer'.")
    if len({step.name for step in steps}) < len(steps):
        raise UserError(f"{path} names one run twice; every script, protocol, weights and seed may come once.")
    return steps


def _transfer_step(
    entry: dict, weights: str, seed: int, pretrained: dict[str, Step], path: Path, output: Path, records: Path
) -> Step:
    script = entry.get("script", "coco")
    if script not in SCRIPTS:
        raise UserError(
            f"{path} names the script {script!r}{nearest(script, SCRIPTS)} It is one of {', '.join(SCRIPTS)}."
        )
    source = pretrained.get(weights)
    if source is None and weights not in NO_CHECKPOINT and not Path(weights.rpartition(":")[2]).is_file():
        known = [*pretrained, *NO_CHECKPOINT]
        raise UserError(f"{path} fine-tunes {weights!r}, which is neither a run nor a file{nearest(weights, known)}")
    options = entry.get("options") or {}
    label = Path(weights.rpartition(":")[2]).stem if source is None else weights
    name = "-".join([script, *([options["protocol"]] if "protocol" in options else []), label, f"seed{seed}"])
    checkpoint = str(source.output / "checkpoint.pth") if source else weights
    arguments = [str(ROOT / SCRIPTS[script]), "--weights", checkpoint, "--seed", str(seed), *flags(options)]
    arguments += ["--output", str(output / name), "--records", str(records)]
    arguments += [str(word) for word in entry.get("overrides") or []]
    return Step(name, tuple(arguments), output / name, source.name if source else None)


def _check_keys(mapping: Any, kinds: dict[str, type], path: Path) -> None:
    """Raise ``UserError`` unless `mapping` has known keys only, each with a value of its kind (or nothing)."""
    if not isinstance(mapping, dict):
        raise UserError(f"{path} should hold the keys {', '.join(kinds)}, not a {type(mapping).__name__}.")
    for key, value in mapping.items():
        if key not in kinds:
            raise UserError(f"{path} has an unknown key {key!r}{nearest(str(key), kinds)}")
        if not isinstance(value, (kinds[key], type(None))):
            raise UserError(f"{path}: {key!r} should be a {kinds[key].__name__}, not {value!r}.")


def flags(options: dict[str, Any]) -> list[str]:
    """Return options as command-line words: ``{"image_size": 48, "resume": False}`` -> --image-size 48 --no-resume."""
    words = []
    for key, value in options.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words += [f"--{flag}", text]
    return words


def run_steps(steps: Sequence[Step]) -> list[str]:
    """Run the steps in order, passing over those whose checkpoint could not be made; return the names that failed.

    Raises:
        KeyboardInterrupt: a run was stopped by Ctrl-C; the next one is not started.
    """
    failed: list[str] = []
    timed: list[tuple[Step, float]] = []
    began = time.monotonic()
    for number, step in enumerate(steps, start=1):
        minutes = (time.monotonic() - began) / 60
        left = time_left(steps[number - 1 :], timed)
        print(f"\n[{number}/{len(steps)}, {minutes:.1f} min{left}] {step}", flush=True)
        if step.needs in failed:
            print(f"passed over: {step.needs} did not complete", flush=True)
            failed.append(step.name)
            continue
        new = not step.output.exists()
        step_began = time.monotonic()
        code = call(step.arguments)
        if code != 0:
            print(f"{step.name} ended with exit code {code}", flush=True)
            failed.append(step.name)
        elif new:  # what only resumed says nothing about the length of a whole run
            timed.append((step, time.monotonic() - step_began))
    return failed


def time_left(steps: Sequence[Step], timed: Sequence[tuple[Step, float]]) -> str:
    """Return ``, about 12 min left`` for these steps at the pace of the timed ones of the same script, or nothing."""
    seconds = 0.0
    for step in steps:
        alike = [(other, took) for other, took in timed if other.arguments[0] == step.arguments[0]]
        if not alike:
            return ""
        seconds += sum(took for _, took in alike) / sum(_length(other) for other, _ in alike) * _length(step)
    return f", about {seconds / 60:.0f} min left" if seconds >= 60 else ", less than a minute left"


def _length(step: Step) -> float:
    """Return how long a step is in relation to others of its script: its epochs, where it says them."""
    words = step.arguments
    return float(words[words.index("--epochs") + 1]) if "--epochs" in words else 1.0


def call(arguments: Sequence[str]) -> int:
    """Run this Python with `arguments` and return its exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C, here or in the run. The run has ended then: it was given time to end by itself.
    """
    child = subprocess.Popen([sys.executable, *arguments], preexec_fn=_end_with(os.getpid()))
    try:
        code = child.wait()
    except KeyboardInterrupt:
        _end(child)
        raise
    if code in INTERRUPTED:
        raise KeyboardInterrupt
    return code


def _end(child: "subprocess.Popen[bytes]") -> None:
    """See a run end: Ctrl-C in a terminal has reached it already, other interruptions have not."""
    for signal_number, seconds in ((None, 5), (signal.SIGINT, 15), (signal.SIGKILL, None)):
        if signal_number is not None:
            child.send_signal(signal_number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
            return


def _end_with(parent: int) -> Any:
    """Return what a new process calls so that the kernel ends it with its parent (Linux; elsewhere None)."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>

    def in_child() -> None:
        libc.prctl(set_parent_death_signal, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return in_child


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM (a cluster's or a system's shutdown) like Ctrl-C while the block runs."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
