"""SIGKILL at random moments: while the run begins, in steps, in writes, at its end; its weights must not show it."""

import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

from tests.faults.runs import Subject
from tests.faults.table import Row
from tests.pretrain.runs import equal

END = "after its end"


def kills(subject: Subject, name: str, count: int, folder: Path, options: list[dict], seed: int = 0) -> list[Row]:
    """Kill a run and start it again until it ends by itself, then another one, until `count` kills are done.

    Every run that has ended is compared with one that nothing disturbed. Half of the kills reach the main process
    alone, half its workers too.
    """
    rng, where = random.Random(seed), Counter[str]()
    (wanted, seconds), run = subject.undisturbed(folder / "whole"), folder / "killed"
    right, pending = 0, 0
    while where.total() < count or pending:
        place = kill(subject, run, rng, seconds, rng.choice(options)) if where.total() < count else END
        if place != END:
            where[place] += 1
            pending += 1
            continue
        subject.finish(run)
        right += pending if equal(subject.weights(run), wanted) else 0
        pending = 0
        shutil.rmtree(run)
        print(f"{name}: {where.total()} kills, {right} right; {dict(where)}", flush=True)
    places = ", ".join(f"{place} {number}" for place, number in sorted(where.items()))
    return [Row(f"SIGKILL of {name}", count, right, f"continues to bit-identical weights ({places})")]


def kill(subject: Subject, folder: Path, rng: random.Random, seconds: float, changes: dict) -> str:
    """Start the run and kill it at a random moment in half of `seconds`; return where that was, ``END`` if it ended."""
    process = subject.start(folder, **changes)
    moment = time.monotonic() + rng.uniform(0, seconds / 2)
    while time.monotonic() < moment and process.poll() is None:
        time.sleep(0.002)
    if process.returncode is not None:
        assert process.returncode == 0, process.output[-2000:]
        return END
    if rng.random() < 0.5:
        process.signal(signal.SIGKILL)
        process.wait()
    else:
        process.kill_group()
    if process.returncode == 0:  # it ended a moment before
        return END
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
