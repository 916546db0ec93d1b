"""A small Slurm for tests: sbatch, squeue, sacct, scancel, srun and scontrol that behave as Slurm's pages document.

    python slurm_standin.py COMMAND ARGUMENTS...      with SLURM_STANDIN naming a folder for its state

Jobs are real processes on this machine. Nothing runs in between: every command first looks which jobs have ended,
requeues those that asked for it, and starts those whose dependencies are met. Only what the runner uses is there.
"""

import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

HOME = Path(os.environ["SLURM_STANDIN"])
OVER = ("COMPLETED", "FAILED", "CANCELLED")


@contextlib.contextmanager
def cluster():
    """Yield the jobs by number, brought up to date; what the block changes is kept."""
    with open(HOME / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = HOME / "jobs.json"
        jobs = json.loads(path.read_text()) if path.exists() else {}
        bring_up_to_date(jobs)
        yield jobs
        path.write_text(json.dumps(jobs))


def bring_up_to_date(jobs):
    for number, job in jobs.items():
        ending = HOME / f"{number}.{job['restarts']}.exit"
        if job["state"] == "RUNNING" and ending.exists() and ending.read_text():
            code = int(ending.read_text())
            if job["requeue"]:
                job.update(state="PENDING", requeue=False, restarts=job["restarts"] + 1)
            elif job["cancelled"]:
                job["state"] = "CANCELLED"
            else:
                job["state"] = "COMPLETED" if code == 0 else "FAILED"
    for number, job in jobs.items():
        if job["state"] != "PENDING":
            continue
        needed = [jobs[other]["state"] for other in job["after"] if other in jobs]
        if any(state in OVER and state != "COMPLETED" for state in needed):
            job["state"] = "CANCELLED"  # --kill-on-invalid-dep=yes
        elif all(state == "COMPLETED" for state in needed):
            start(number, job)


def start(number, job):
    environment = {**os.environ, "SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"}
    environment |= {"SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "node1", "SLURM_RESTART_COUNT": str(job["restarts"])}
    ending = HOME / f"{number}.{job['restarts']}.exit"
    # The batch shell is no part of the step: signals to the job go to what srun started (its own session).
    script = f"bash {shlex.quote(job['script'])}; echo $? > {shlex.quote(str(ending))}.part; mv {ending}.part {ending}"
    subprocess.Popen(["bash", "-c", script], env=environment, cwd=job["folder"], start_new_session=True,
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    job["state"] = "RUNNING"


def sbatch(arguments):
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", Path(arguments[-1]).read_text(), re.M))
    options = {key: (shlex.split(value) or [""])[0] for key, value in options.items()}
    if options.get("partition") == "closed":
        sys.exit("sbatch: error: invalid partition specified: closed")
    with cluster() as jobs:
        number = str(1000 + len(jobs))
        after = options.get("dependency", "").removeprefix("afterok:").split(":")
        script = HOME / f"{number}.sh"  # Slurm keeps a copy; submitit moves the file away
        script.write_text(Path(arguments[-1]).read_text())
        jobs[number] = {"state": "PENDING", "script": str(script), "after": [a for a in after if a],
                        "options": options, "requeue": False, "cancelled": False, "restarts": 0,
                        "folder": os.getcwd()}  # fmt: skip
    print(f"Submitted batch job {number}")


def srun(arguments):
    output = None
    while arguments and arguments[0].startswith("-"):
        word = arguments.pop(0)
        if word in ("--output", "--error"):
            output = arguments.pop(0)
    number = os.environ["SLURM_JOB_ID"]
    path = output.replace("%j", number).replace("%A", number).replace("%t", "0").replace("%a", "0")
    os.environ.update(SLURM_PROCID="0", SLURM_LOCALID="0")
    with open(path, "ab") as file:
        step = subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        (HOME / f"{number}.step").write_text(str(step.pid))
        sys.exit(step.wait() & 255)


def squeue(arguments):
    wanted = arguments[arguments.index("--jobs") + 1].split(",")
    with cluster() as jobs:
        for number in wanted:
            job = jobs.get(number)
            if job and job["state"] not in OVER:
                reason = "Dependency" if job["state"] == "PENDING" and job["after"] else "None"
                print(f"{number}|{job['state']}|{reason}")


def sacct(arguments):
    if os.environ.get("SLURM_STANDIN_NO_ACCOUNTING"):
        sys.exit("sacct: error: Slurm accounting storage is disabled")
    wanted = [arguments[i + 1] for i, word in enumerate(arguments) if word == "-j"]
    with cluster() as jobs:
        print("JobID|State|NodeList")
        for number in wanted:
            if number in jobs:
                state = "CANCELLED by 0" if jobs[number]["state"] == "CANCELLED" else jobs[number]["state"]
                print(f"{number}|{state}|node1\n{number}.batch|{state}|node1")


def scancel(arguments):
    name = "TERM"
    numbers = []
    while arguments:
        word = arguments.pop(0)
        if word in ("--signal", "-s"):
            name = arguments.pop(0).removeprefix("SIG")
        else:
            numbers.append(word)
    with cluster() as jobs:
        for number in numbers:
            job = jobs[number]
            if job["state"] == "PENDING":
                job["state"] = "CANCELLED"
            elif job["state"] == "RUNNING":
                job["cancelled"] = job["cancelled"] or name == "TERM"
                # To every process of the step, as Slurm does.
                os.killpg(int((HOME / f"{number}.step").read_text()), getattr(signal, f"SIG{name}"))


def scontrol(arguments):
    assert arguments[0] == "requeue"
    with cluster() as jobs:
        jobs[arguments[1]]["requeue"] = True


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2:])
