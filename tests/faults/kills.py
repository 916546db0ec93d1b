"""SIGKILL at random moments: while the run begins, in steps, in writes, at its end; its weights must not show it."""

import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

from tests.faults.runs import Subject, equal
from tests.faults.table import Row

A_RUN = 10  # kills of one run, before it may end


def kills(subject: Subject, name: str, count: int, folder: Path, options: list[dict], seed: int = 0) -> list[Row]:
    """Kill runs `count` times, ten times each, each run then continued to its end; compare with an undisturbed one.

    Half of the kills reach the main process alone, half its workers too.
    """
    whole, rng, where = folder / "whole", random.Random(seed), Counter[str]()
    (wanted, seconds), right, done = subject.undisturbed(whole), 0, 0
    while done < count:
        run = folder / "killed"
        shutil.rmtree(run, ignore_errors=True)
        here = min(A_RUN, count - done)
        for _ in range(here):
            where[kill(subject, run, rng, seconds, rng.choice(options))] += 1
        subject.finish(run)
        right += here if equal(subject.weights(run), wanted) else 0
        done += here
        print(f"{name}: {done} kills, {right} right; {dict(where)}", flush=True)
    places = ", ".join(f"{place} {number}" for place, number in sorted(where.items()))
    return [Row(f"SIGKILL of {name}", count, right, f"continues to bit-identical weights ({places})")]


def kill(subject: Subject, folder: Path, rng: random.Random, seconds: float, changes: dict) -> str:
    """Start the run, kill it at a random moment in two thirds of its `seconds`; return where that was."""
    process = subject.start(folder, **changes)
    moment = time.monotonic() + rng.uniform(0, seconds * 2 / 3)
    while time.monotonic() < moment and process.poll() is None:
        time.sleep(0.002)
    if process.returncode is not None:
        assert process.returncode == 0, process.output[-2000:]
        return "after its end"
    if rng.random() < 0.5:
        process.signal(signal.SIGKILL)
        process.wait()
    else:
        process.kill_group()
    return place_of(folder / "run")


def place_of(run: Path) -> str:
    """Return what a killed run was doing, by what it left."""
    if not (run / "run.json").is_file():
        return "before the folder"
    if any(path for path in run.glob(".*.part") if "reserve" not in path.name):
        return "in a write"
    if not (run / "metrics.json").is_file():
        return "before the first step"
    return "in steps"
