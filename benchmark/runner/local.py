"""The runs of a suite on this machine: as many at a time as there are places, each in its own process.

A run ends with the suite, however that ends: an orphan would hold its folder's lock against the suite's next start. A
signal to the suite (Ctrl-C, SIGTERM, SIGUSR1) is passed to every run at once as SIGTERM, upon which a run that trains
saves a checkpoint; a second one kills. A run that fails does not stop the others; those that need it are not started.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from benchmark.core.errors import INTERRUPTED, STOPPED, Stopped
from benchmark.core.parent import end_with_parent
from benchmark.runner.display import Display
from benchmark.runner.machine import command, environment
from benchmark.runner.planned import PlannedRun
from benchmark.runner.state import read_outcome

LOGS = "logs"
PAUSE = 0.1  # seconds between looks at the runs
STOPPING = (STOPPED, INTERRUPTED, -signal.SIGINT, -signal.SIGTERM, -signal.SIGUSR1)  # of a run that was asked to stop


@dataclass
class Job:
    """One run that is going on: its process, its place, and since when."""

    run: PlannedRun
    process: "subprocess.Popen[bytes]"
    place: int
    began: float
    log: Path | None
    resumed: bool


@dataclass
class Ended:
    """How the runs of a suite ended: names of those that failed and were not started (with the reason)."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    not_started: dict[str, str] = field(default_factory=dict)


class Asked:
    """Signals that have arrived at the suite: the first asks all runs to stop, a second kills them."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.passed_on = 0

    def __call__(self, number: int, _: object) -> None:
        """Note a signal; the loop acts within ``PAUSE`` seconds."""
        self.signals.append(number)


@contextlib.contextmanager
def noting_signals() -> Iterator[Asked]:
    """Note SIGINT, SIGTERM and SIGUSR1 while the block runs."""
    asked = Asked()
    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_all(
    runs: Sequence[PlannedRun],
    places: Sequence[Sequence[str]],
    output: Path,
    display: Display,
    before: Ended | None = None,
) -> Ended:
    """Run all that is given, in order, in the places; return how they ended.

    Args:
        runs: those to be run; what they need and is not among them is taken to be done.
        places: the GPUs of each place; as many runs go on at a time.
        output: folder of the suite; with several places every run's output goes to ``logs/<name>.log`` there.
        display: shows what goes on.
        before: how earlier runs ended, those that are not to be started again.

    Raises:
        Stopped: a signal asked for it, here or in a run. All runs have ended then.
    """
    waiting, going, ended = list(runs), [], before or Ended()
    names = {run.name for run in runs}
    with noting_signals() as asked:
        while waiting or going:
            _pass_on(asked, going)
            for job in [job for job in going if job.process.poll() is not None]:
                going.remove(job)
                _note_end(job, ended, asked, display)
            if asked.signals and not going:
                raise Stopped(asked.signals[0])
            if not asked.signals:
                _leave_out(waiting, ended, display)
                free = [place for place in range(len(places)) if place not in {job.place for job in going}]
                ready = [
                    run for run in waiting if run.needs is None or run.needs not in names or run.needs in ended.done
                ]
                for run, place in zip(ready, free, strict=False):
                    waiting.remove(run)
                    going.append(_start(run, place, places, output, display))
            display.update(going)
            time.sleep(PAUSE)
    return ended


def _pass_on(asked: Asked, going: Sequence[Job]) -> None:
    """Pass the signals that have arrived on to all runs."""
    for number in range(asked.passed_on, len(asked.signals)):
        for job in going:
            with contextlib.suppress(ProcessLookupError):
                job.process.send_signal(signal.SIGTERM if number == 0 else signal.SIGKILL)
    asked.passed_on = len(asked.signals)


def _leave_out(waiting: list[PlannedRun], ended: Ended, display: Display) -> None:
    """Take out the runs whose checkpoint could not be made, and say why."""
    for run in list(waiting):
        if run.needs in ended.failed or run.needs in ended.not_started:
            waiting.remove(run)
            ended.not_started[run.name] = f"{run.needs} did not complete"
            display.left_out(run, ended.not_started[run.name])


def _start(run: PlannedRun, place: int, places: Sequence[Sequence[str]], output: Path, display: Display) -> Job:
    gpus = places[place]
    log = output / LOGS / f"{run.name}.log" if len(places) > 1 else None
    resumed = (run.output / "run.json").is_file()
    display.started(run, resumed)
    with _output(log) as file:
        process = subprocess.Popen(
            command(run, gpus),
            env=environment(gpus, len(places)),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT if file else None,
            start_new_session=True,  # Ctrl-C in a terminal reaches the suite alone, which passes it on once
            preexec_fn=_with_its_suite if os.name == "posix" else None,
        )
    return Job(run, process, place, time.monotonic(), log, resumed)


def _with_its_suite() -> None:
    end_with_parent(signal.SIGTERM)


@contextlib.contextmanager
def _output(log: Path | None) -> Iterator[IO[bytes] | None]:
    """Yield the file for a run's output, None for the suite's own."""
    if log is None:
        yield None
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        yield file


def _note_end(job: Job, ended: Ended, asked: Asked, display: Display) -> None:
    """Note how a run ended. Under torchrun every exit code but 0 is 1: there the run's folder says how it ended."""
    code = job.process.returncode
    outcome = read_outcome(job.run.output) if code else {}
    said = outcome.get("exit_code")
    if code == 1 and isinstance(said, int) and said:
        code = said
    seconds = time.monotonic() - job.began
    if code == 0:
        ended.done.append(job.run.name)
        display.ended(job.run, seconds, job.resumed)
        return
    if code in STOPPING:
        if not asked.signals:  # somebody stopped this run alone: they mean the suite, which could only start it again
            asked.signals.append(signal.SIGINT if code in (INTERRUPTED, -signal.SIGINT) else signal.SIGTERM)
        display.stopped(job.run)
        return
    reason = str(outcome.get("reason") or f"exit code {code}") + (f"; see {job.log}" if job.log else "")
    ended.failed[job.run.name] = reason
    display.failed(job.run, reason)


def call(arguments: Sequence[str]) -> int:
    """Run this Python with `arguments` to its end, and return its exit code."""
    return subprocess.run([sys.executable, *arguments]).returncode
