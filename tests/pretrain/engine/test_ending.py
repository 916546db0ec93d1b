"""How a run ends: real signals, locks, full disks and killed helpers, each with its exit code and record."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmark.records import RunRecord
from pretrain.engine.checkpoint import LAST, load_checkpoint
from tests.faults.zygote import Zygote
from tests.pretrain.runs import SCRIPT, environment, flags, pictures

STEPS = 14
SMALL = {"epochs": 1, "log_every": 1, "checkpoint_minutes": 1000}


@pytest.fixture(scope="module")
def zygote():
    with Zygote("pretrain") as started:
        yield started


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("data"), STEPS * 8)


@pytest.fixture(scope="module")
def whole(zygote, data, tmp_path_factory):
    """The weights of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    process = zygote.start(flags(folder, data, **SMALL), folder / "log")
    assert process.wait() == 0, process.output
    return load_checkpoint(folder / "run" / LAST)["model"]


def begin(zygote, folder, data, reached=4, **changes):
    """Start a run and return it when iteration `reached` is logged."""
    process = zygote.start(flags(folder, data, **SMALL | changes), folder / "log", **limits_of(changes))
    deadline = time.monotonic() + 60
    while not logged(folder, reached):
        assert process.poll() is None, process.output
        assert time.monotonic() < deadline, process.output
        time.sleep(0.005)
    return process


def limits_of(changes):
    return {name: changes.pop(name) for name in list(changes) if name.startswith("RLIMIT")}


def logged(folder, iteration):
    path = folder / "run" / "metrics.json"
    return path.is_file() and f'"iteration": {iteration},' in path.read_text()


def last_logged(folder):
    return json.loads((folder / "run" / "metrics.json").read_text().splitlines()[-1])["iteration"]


def outcome(folder):
    return json.loads((folder / "run" / "outcome.json").read_text())


def record(folder):
    (path,) = (folder / "records").glob("*.json")
    return RunRecord.read(path)


def finish(zygote, folder, data, whole, **changes):
    """Start the same command again: it must go on, end well and give the weights of an undisturbed run."""
    process = zygote.start(flags(folder, data, **SMALL | changes), folder / "log")
    assert process.wait() == 0, process.output
    found = load_checkpoint(folder / "run" / LAST)["model"]
    assert all(torch.equal(value, whole[name]) for name, value in found.items())
    assert outcome(folder)["status"] == "completed"
    assert record(folder).status == "completed"
    return process.output


# --- Requests to stop ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)], ids=["TERM", "USR1", "INT"]
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_request_ends_the_run_after_a_saved_step(zygote, data, whole, tmp_path, number, code, workers):
    """Sent to all processes of the command, as clusters and terminals do; workers leave it to the main one."""
    process = begin(zygote, tmp_path, data, workers=workers)
    process.signal_group(number)
    assert process.wait(30) == code, process.output
    assert "Traceback" not in process.output
    saved = load_checkpoint(tmp_path / "run" / LAST)["iteration"]
    assert saved == last_logged(tmp_path) > 3
    assert outcome(tmp_path)["exit_code"] == code
    assert f"after iteration {saved}; the same command continues" in process.output
    assert not (tmp_path / "records").exists() or not list((tmp_path / "records").glob("*.json"))
    said = finish(zygote, tmp_path, data, whole, workers=workers)
    assert f"continuing at iteration {saved} of {STEPS}" in said


def test_a_second_request_ends_a_run_whose_step_never_ends(zygote, data, tmp_path):
    """Its worker hangs, as in a read of a disk that does not answer. What follows the first at once is the same one."""
    process = begin(zygote, tmp_path, data, workers=1)
    os.kill(children(process.pid)[0], signal.SIGSTOP)
    reached = last_logged(tmp_path)
    time.sleep(1.0)
    while last_logged(tmp_path) > reached:  # batches that were ready
        reached = last_logged(tmp_path)
        time.sleep(1.0)
    for _ in range(3):
        process.signal(signal.SIGTERM)
        time.sleep(0.1)
    assert process.poll() is None
    time.sleep(3.0)
    process.signal(signal.SIGTERM)
    assert process.wait(30) == 75
    assert "Traceback" not in process.output


def test_two_processes_stop_after_the_same_step(data, tmp_path):
    """One of them is asked; torchrun turns the exit code into 1, so the folder says how the run ended."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", SCRIPT]
    process = subprocess.Popen(
        [*launcher, *flags(tmp_path, data, **SMALL | {"epochs": 100})],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not logged(tmp_path, 2):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert process.returncode != 0
    assert outcome(tmp_path)["exit_code"] == 75, said
    assert load_checkpoint(tmp_path / "run" / LAST)["iteration"] == last_logged(tmp_path)


def test_the_processes_of_a_torchrun_that_was_killed_save_and_end(data, tmp_path):
    """Else they would go on as orphans and hold the folder."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", SCRIPT]
    words = [*launcher, *flags(tmp_path, data, **SMALL | {"epochs": 100})]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(words, env=environment(), stdout=log, stderr=log)
    while not logged(tmp_path, 2):
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    ranks = children(process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in ranks):
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.05)
    assert len(ranks) == 2
    assert outcome(tmp_path)["exit_code"] == 75, (tmp_path / "log").read_text()
    assert load_checkpoint(tmp_path / "run" / LAST)["iteration"] == last_logged(tmp_path)


# --- One process a folder -----------------------------------------------------------------------------------------


def test_after_a_kill_the_folder_is_free_at_once_and_no_worker_stays(zygote, data, whole, tmp_path):
    """The kill reaches the main process alone, as the system's own does when memory runs out."""
    process = begin(zygote, tmp_path, data, workers=2)
    workers = children(process.pid)
    assert len(workers) == 2
    process.signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker outlives its run"
        time.sleep(0.01)
    said = finish(zygote, tmp_path, data, whole)
    assert "is in use by" not in said


def test_a_hung_worker_does_not_hold_the_folder(zygote, data, whole, tmp_path):
    process = begin(zygote, tmp_path, data, workers=1)
    (worker,) = children(process.pid)
    os.kill(worker, signal.SIGSTOP)  # as in a read of a disk that does not answer
    process.signal(signal.SIGKILL)
    process.wait()
    finish(zygote, tmp_path, data, whole)


def children(pid):
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(word) for word in path.read_text().split()]
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


# --- What fails has a record --------------------------------------------------------------------------------------


def check_failed(process, folder, *words, records=True):
    assert process.wait() == 1, process.output
    assert "Traceback" not in process.output, process.output
    (said,) = [line for line in process.output.splitlines() if line.startswith("failed: ")]
    assert all(word in said for word in words), said
    if records:
        found = record(folder)
        assert found.status == "failed"
        assert all(word in found.details["reason"] for word in words)


def test_a_checkpoint_beyond_the_limit_on_files(zygote, data, whole, tmp_path):
    """RLIMIT_FSIZE: the system refuses the write in the middle of the checkpoint."""
    arguments = flags(tmp_path, data, **SMALL)
    process = zygote.start(arguments, tmp_path / "log", RLIMIT_FSIZE=20_000_000)
    check_failed(process, tmp_path, "cannot be written (File too large)", "repeat the command")
    assert not list((tmp_path / "run").glob(".*.part"))
    finish(zygote, tmp_path, data, whole)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700m", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(zygote, data, whole, tmp_path, small_disk):
    """Everything lies on it, the records too: room for them has been kept. With more room the run goes on."""
    process = begin(zygote, small_disk, data, checkpoint_minutes=1e-6)
    with open(small_disk / "filler", "wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
    check_failed(process, small_disk, "cannot be written (No space left on device); free some space")
    assert outcome(small_disk)["status"] == "failed"
    (small_disk / "filler").unlink()
    finish(zygote, small_disk, data, whole)


def test_a_folder_that_is_removed_meanwhile(zygote, data, tmp_path):
    process = begin(zygote, tmp_path, data)
    shutil.rmtree(tmp_path / "run")
    check_failed(process, tmp_path, "cannot be written", "its folder was removed or renamed meanwhile")
    assert not (tmp_path / "run").exists()


def test_a_worker_that_is_killed(zygote, data, whole, tmp_path):
    process = begin(zygote, tmp_path, data, workers=2)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    check_failed(process, tmp_path, "a process that prepares images was killed", "fewer --workers")
    finish(zygote, tmp_path, data, whole)


def test_a_record_that_cannot_be_replaced_does_not_hide_the_failure(zygote, data, tmp_path):
    process = begin(zygote, tmp_path, data)
    shutil.rmtree(tmp_path / "run")
    shutil.rmtree(tmp_path / "records")
    (tmp_path / "records").write_text("a file")
    check_failed(process, tmp_path, "its folder was removed or renamed meanwhile", records=False)
    assert "the record of the failure could not be written" in process.output


def test_memory_that_does_not_suffice(zygote, data, tmp_path):
    """RLIMIT_AS, above what the process has already, below what a batch of such images takes."""
    arguments = flags(tmp_path, data, **SMALL | {"image_size": 2048, "batch_size": 16})
    size = 4 << 30
    process = zygote.start(arguments, tmp_path / "log", RLIMIT_AS=size)
    check_failed(process, tmp_path, "the memory does not suffice", "lower --micro-batch")


# --- What is known before -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["output", "records"])
@pytest.mark.parametrize("extra", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_a_folder_that_cannot_be_written_is_refused_before_training(zygote, data, tmp_path, flag, extra):
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file" / "below", "/proc/there", tmp_path / ("x" * 300)):
        changes = {flag: place, "images_per_second": 1}
        process = zygote.start([*flags(tmp_path, data, **SMALL | changes), *extra], tmp_path / "log")
        assert process.wait() == 2, process.output
        assert f"--{flag}" in process.output
        assert process.output.count("\n") <= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "log"]


def test_names_that_are_not_utf8(zygote, tmp_path):
    """A folder of class names in Latin-1, one image of which cannot be read: it is named, and the record holds it."""
    data = pictures(tmp_path / "data", 120)
    odd = os.path.join(os.fsencode(data), b"B\xfccher")
    os.mkdir(odd)
    for name in ("001.png", "002.png"):
        os.rename(data / name, os.path.join(odd, b"\xe4" + name.encode()))
    with open(os.path.join(odd, b"\xe4001.png"), "wb") as file:
        file.write(b"no image")
    process = zygote.start(flags(tmp_path, data, epochs=1, batch_size=24, log_every=1), tmp_path / "log")
    assert process.wait() == 0, process.output
    (unreadable,) = record(tmp_path).details["unreadable"]
    assert unreadable.endswith(r"B\xfccher/\xe4001.png")
