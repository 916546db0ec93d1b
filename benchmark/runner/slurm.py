"""The runs of a suite as Slurm jobs, by submitit: one job a run, on one machine each, requeued until it is done.

What happens to a job. ``sbatch`` gets the run's resources, and as dependency the job of the pre-training that it needs
(``afterok``; ``--kill-on-invalid-dep`` ends it when that one fails). Before its time is over Slurm sends SIGUSR2
(``--signal``), upon which submitit calls ``checkpoint``: the run gets SIGTERM, saves at the next step, ends with 75,
and the job is requeued and continues. ``scancel`` sends SIGTERM to the run itself, which saves and ends for good. Which
job belongs to which run stands in ``slurm/jobs.json`` of the suite's folder: started again, the suite watches jobs that
are still there and submits only what is missing.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import SlurmJob

from benchmark.core.errors import Stopped, UserError
from benchmark.core.files import write_json
from benchmark.core.log import say
from benchmark.core.strict_yaml import shorten
from benchmark.runner.machine import launched
from benchmark.runner.planned import PlannedRun
from benchmark.runner.state import read_outcome

FOLDER, JOBS = "slurm", "jobs.json"
MOST_REQUEUES = 1000
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")
UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Cluster:
    """What the cluster wants to know: partition, account and quality of service (None: its defaults), cores a GPU,
    ``signal_seconds`` before the end of a job's time at which it is asked to save, and further ``sbatch`` options."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    cpus_per_gpu: int = 8
    signal_seconds: int = 120
    sbatch: tuple[str, ...] = ()


class SlurmRun:
    """What runs inside a job: the run's own command, and how it is asked to save (submitit calls both)."""

    def __init__(self, words: Sequence[str], output: str, grace: float):
        self.words, self.output, self.grace = list(words), output, grace
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> str:
        """Run the command to its end. Raises ``RuntimeError`` unless it ends with 0, so that the job has failed."""
        # SIGUSR2 goes to all processes of the job: submitit's handler acts on it, the run must not die of it.
        self._process = subprocess.Popen(self.words, preexec_fn=_ignore_usr2)
        code = self._process.wait()
        if code:
            raise RuntimeError(f"exit code {read_outcome(Path(self.output)).get('exit_code') or code}")
        return "completed"

    def checkpoint(self) -> DelayedSubmission:
        """Let the run save and end; the job is requeued with the same command, which continues."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGTERM)
            _wait_without_reaping(self._process.pid, self.grace)
        return DelayedSubmission(SlurmRun(self.words, self.output, self.grace))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": None}


def _wait_without_reaping(pid: int, seconds: float) -> None:
    """Wait until a child has ended. ``Popen.wait`` would wait for its own lock here: a signal has interrupted it."""
    until = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None and time.monotonic() < until:
            time.sleep(0.2)


def _ignore_usr2() -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def read_jobs(output: Path) -> dict[str, str]:
    """Return the job of each run that has been submitted, by the run's name."""
    try:
        content = json.loads((output / FOLDER / JOBS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(job) for name, job in content.items()} if isinstance(content, dict) else {}


def submit(runs: Sequence[PlannedRun], output: Path, cluster: Cluster) -> dict[str, str]:
    """Submit the runs that no job is working on, each after the job that makes its weights; return jobs by name.

    Raises:
        UserError: this machine has no Slurm, or ``sbatch`` refuses (its own words are given).
    """
    jobs, given = read_jobs(output), _options(cluster.sbatch)
    states = job_states(list(jobs.values()))
    live = {name: job for name, job in jobs.items() if not _is_over(states.get(job, (UNKNOWN, ""))[0])}
    folder = output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    names = {run.name for run in runs}
    for run in runs:
        if run.name in live:
            continue
        try:
            executor = SlurmExecutor(folder / run.name, max_num_timeout=MOST_REQUEUES)
            executor.update_parameters(**_parameters(run, cluster, given, live.get(run.needs or ""), names))
            job = executor.submit(
                SlurmRun(launched(run.arguments, run.resources.processes), str(run.output), _grace(cluster))
            )
        except (RuntimeError, FailedJobError, FailedSubmissionError, OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
            raise UserError(f"Slurm did not take {run.name}: {shorten(' '.join(text.split()), 300)}") from None
        live[run.name] = jobs[run.name] = str(job.job_id)
        write_json(folder / JOBS, jobs)  # at once: a kill between two submissions must not submit one twice
    return {run.name: live[run.name] for run in runs}


def _grace(cluster: Cluster) -> float:
    """Return the seconds that a run has for saving: what Slurm gives the job, less what a requeue takes."""
    return max(cluster.signal_seconds - 20.0, 10.0)


def _options(words: Sequence[str]) -> dict[str, Any]:
    """Return further options of sbatch, ``constraint=a100`` or ``exclusive``, as submitit takes them."""
    return {name: value or True for name, _, value in (word.lstrip("-").partition("=") for word in words)}


def _parameters(
    run: PlannedRun, cluster: Cluster, given: Mapping[str, Any], needed: str | None, names: set[str]
) -> dict[str, Any]:
    more = {"requeue": True, "open-mode": "append", **given}
    parameters: dict[str, Any] = {
        "job_name": run.name[:100],
        "time": max(1, round(run.resources.hours * 60)),
        "nodes": 1,
        "ntasks_per_node": 1,
        "gpus_per_node": run.resources.processes,
        "cpus_per_task": run.resources.processes * cluster.cpus_per_gpu,
        "signal_delay_s": cluster.signal_seconds,
        "stderr_to_stdout": True,
    }
    parameters |= {
        key: value for key in ("partition", "account", "qos") if (value := getattr(cluster, key)) is not None
    }
    if run.needs in names and needed is not None:
        parameters["dependency"] = f"afterok:{needed}"
        more["kill-on-invalid-dep"] = "yes"
    return {**parameters, "additional_parameters": more}


def job_states(jobs: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return state and reason of jobs: from ``squeue`` while they are there, afterwards from ``sacct``."""
    if not jobs:
        return {}
    try:
        listed = subprocess.run(
            ["squeue", "--noheader", "--jobs", ",".join(jobs), "--format", "%i|%T|%r"],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"this machine has no Slurm ({error}); start the suite where sbatch and squeue are.") from None
    found: dict[str, tuple[str, str]] = {}
    for line in listed.stdout.splitlines():
        job, _, rest = line.strip().partition("|")
        state, _, reason = rest.partition("|")
        if job in jobs:
            found[job] = (state, reason)
    gone = [job for job in jobs if job not in found]
    if gone:
        watcher = SlurmJob.watcher
        for job in gone:
            watcher.register_job(job)
        with contextlib.suppress(Exception):  # without accounting the run's own folder says how it ended
            watcher.update()
        for job in gone:
            state = str(watcher.get_info(job, mode="cache").get("State") or UNKNOWN)
            found[job] = (state.split()[0], "")
    return found


def _is_over(state: str) -> bool:
    return state.startswith((*ENDED, UNKNOWN))


def watch(jobs: Mapping[str, str], runs: Mapping[str, PlannedRun], pause: float = 30.0) -> dict[str, str]:
    """Watch jobs until all are over, saying what changes; return the state of those that did not complete, by name.

    Raises:
        Stopped: Ctrl-C ends the watching only; the jobs go on and the same command watches them again.
    """
    last: dict[str, str] = {}
    try:
        while True:
            states = job_states(list(jobs.values()))
            now = {name: _said(*states.get(job, (UNKNOWN, ""))) for name, job in jobs.items()}
            _say_changes(last, now, jobs)
            last = now
            if all(_is_over(text) for text in now.values()):
                break
            time.sleep(pause)
    except KeyboardInterrupt:
        print(f"the jobs stay with Slurm: {', '.join(jobs.values())}; the same command watches them again", flush=True)
        raise Stopped(signal.SIGINT) from None
    return {name: _why(text, runs[name]) for name, text in last.items() if not _completed(text, runs[name])}


def _completed(state: str, run: PlannedRun) -> bool:
    """Say whether a run is complete, by the job's state or, where accounting is off, by what the run's folder says."""
    return state.startswith("COMPLETED") or read_outcome(run.output).get("status") == "completed"


def _why(state: str, run: PlannedRun) -> str:
    reason = read_outcome(run.output).get("reason")
    if reason:
        return str(reason)
    return f"{run.needs} did not complete" if run.needs and state.startswith("CANCELLED") else f"Slurm says {state}"


def _said(state: str, reason: str) -> str:
    return state if reason in ("", "None") else f"{state} ({reason})"


def _say_changes(before: Mapping[str, str], now: Mapping[str, str], jobs: Mapping[str, str]) -> None:
    for name, text in now.items():
        if before.get(name) != text:
            print(f"{time.strftime('%H:%M')} job {jobs[name]}, {name}: {text}", flush=True)
    over = sum(map(_is_over, now.values()))
    running = sum(text.startswith("RUNNING") for text in now.values())
    if dict(before) != dict(now):
        print(f"{over} of {len(now)} over, {running} running, {len(now) - over - running} waiting", flush=True)


def cancel(output: Path) -> list[str]:
    """Cancel all jobs of a suite that are not over; return them. A run that trains saves first, and may go on later."""
    jobs = read_jobs(output)
    states = job_states(list(jobs.values()))
    live = [job for job in jobs.values() if not _is_over(states.get(job, (UNKNOWN, ""))[0])]
    if live:
        done = subprocess.run(["scancel", *live], capture_output=True, text=True)
        if done.returncode:
            say(done.stderr.strip())
    return live
