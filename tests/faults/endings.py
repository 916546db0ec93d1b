"""Requests to stop at random moments, full disks of random sizes, helpers that are killed."""

import contextlib
import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from benchmark.records import RunRecord
from tests.faults.runs import OFTEN, Subject
from tests.faults.table import Row
from tests.pretrain.runs import equal

FAILS = "exit code 1, one sentence, a record (2 and one sentence before it begins); then bit-identical weights"
CODES = {signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGINT: 130}


def signals(subject: Subject, count: int, folder: Path, seed: int = 2) -> list[Row]:
    """Send a request to stop at a random moment to the whole process group; continue, and compare the weights."""
    rng, rows = random.Random(seed), []
    wanted, seconds = subject.undisturbed(folder / "whole")
    for number, code in CODES.items():
        right = sum(_stopped(subject, folder / "stopped", number, code, rng, wanted, seconds) for _ in range(count))
        rows.append(
            Row(
                f"{signal.Signals(number).name} at a random moment",
                count,
                right,
                f"exit code {code} (or 0 after the end), then bit-identical weights",
            )
        )
        print(rows[-1], flush=True)
    return rows


def _stopped(
    subject: Subject, folder: Path, number: int, code: int, rng: random.Random, wanted: dict, seconds: float
) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    process = subject.start(folder, workers=rng.choice([0, 2]))
    while not (folder / "run" / "run.json").is_file():  # before, Python's own handlers end the command
        time.sleep(0.005)
    time.sleep(rng.uniform(0, seconds * 2 / 3))
    if process.poll() is None:
        process.signal_group(number)
    ended = process.wait()
    right = ended in (code, 0) and "Traceback" not in process.output
    subject.finish(folder)
    return right and equal(subject.weights(folder), wanted)


def limits(subject: Subject, count: int, folder: Path, seed: int = 3) -> list[Row]:
    """Let the system refuse to write beyond a random size of file (RLIMIT_FSIZE); continue without the limit."""
    rng, right = random.Random(seed), 0
    wanted, _ = subject.undisturbed(folder / "whole")
    for _ in range(count):
        shutil.rmtree(folder / "limited", ignore_errors=True)
        size = int(10 ** rng.uniform(5, 8))
        process = subject.start(folder / "limited", limits={"RLIMIT_FSIZE": size}, **OFTEN)
        ended = process.wait()
        right += _failed_with_record(process, ended, folder / "limited") and _continues(
            subject, folder / "limited", wanted
        )
    rows = [
        Row(
            "writes refused beyond a random size",
            count,
            right,
            "exit code 1, one sentence, a record (2 and one sentence before it begins); then bit-identical weights",
        )
    ]
    print(rows[-1], flush=True)
    return rows


def disks(subject: Subject, count: int, folder: Path, seed: int = 4) -> list[Row]:
    """Fill a disk of its own (tmpfs) while the run works; make room, and continue."""
    rng, right, disk = random.Random(seed), 0, folder / "disk"
    wanted, seconds = subject.undisturbed(folder / "whole")
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900m", "tmpfs", str(disk)], capture_output=True).returncode:
        return [Row("a full disk", 0, 0, "not tried: no disk can be mounted here")]
    try:
        for number in range(count):
            run = disk / f"run{number}"
            process = subject.start(run, **OFTEN)
            while not (run / "run" / "run.json").is_file():
                time.sleep(0.005)
            time.sleep(rng.uniform(0, seconds / 3))
            _fill(disk / "filler")
            ended = process.wait()
            tried = _failed_with_record(process, ended, run) or ended == 0
            (disk / "filler").unlink()
            right += tried and _continues(subject, run, wanted)
            shutil.rmtree(run)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    rows = [
        Row(
            "a disk that fills up at a random moment",
            count,
            right,
            "exit code 1, one sentence, a record (2 and one sentence before it begins); then bit-identical weights",
        )
    ]
    print(rows[-1], flush=True)
    return rows


def _fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


def _failed_with_record(process: object, ended: int, folder: Path) -> bool:
    said = process.output  # type: ignore[attr-defined]
    if ended == 0:
        return True
    if ended == 2:  # the disk was full before the run had taken its room: nothing had begun
        return [line.startswith("error: ") for line in said.splitlines()].count(True) == 1
    (path,) = (folder / "records").glob("*.json")
    told = [line for line in said.splitlines() if line.startswith("failed: ")]
    outcome = json.loads((folder / "run" / "outcome.json").read_text())
    return (ended, len(told), RunRecord.read(path).status, outcome["status"]) == (1, 1, "failed", "failed")


def _continues(subject: Subject, folder: Path, wanted: dict) -> bool:
    subject.finish(folder)
    return equal(subject.weights(folder), wanted)
