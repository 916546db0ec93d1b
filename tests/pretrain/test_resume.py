"""Killed with SIGKILL and started again with the same command, a run ends with bit-identical weights.

Kills come inside epochs, in every write of a file, and before the first of them.
"""

import json
import signal
import time

import pytest

from benchmark.records import RunRecord
from pretrain.engine.checkpoint import LAST, load_checkpoint
from tests.faults.zygote import Zygote
from tests.pretrain.runs import equal, flags, pictures

EPOCHS, LENGTH = 4, 3
OPTIONS = {"epochs": EPOCHS, "keep_every": 2, "precision": "bf16", "seed": 5, "lr": 2.0}


def part_of(name):
    """Say when a file is being written: its temporary file exists."""
    return lambda run: any(run.glob(f".{name}.*.part"))


def at_iteration(number):
    """Say when an iteration has been logged."""

    def reached(run):
        metrics = run / "metrics.json"
        return metrics.is_file() and f'"iteration": {number},' in metrics.read_text()

    return reached


OFTEN = {"checkpoint_minutes": 1e-6}  # a checkpoint after every iteration
# In the order in which one run meets them: name, moment, flags of that part of the run (none that changes its result),
# a file that must be half written, and the iteration of the checkpoint that must be left (a range where the kill may
# come before or after a write).
KILLS = [
    ("folder claimed, nothing trained", lambda run: (run / "run.json").is_file(), {}, None, [None]),
    ("write of the first checkpoint", part_of(LAST), OFTEN, LAST, [None]),
    ("middle of the first epoch", at_iteration(2), OFTEN, None, [1, 2]),
    ("export of the backbone", part_of("backbone.safetensors"), {"workers": 2}, "backbone.safetensors", [1, 2]),
    ("write of a kept checkpoint", part_of("checkpoint_0002.pth"), {}, "checkpoint_0002.pth", [LENGTH]),
    ("write over the last checkpoint", part_of(LAST), {"workers": 2}, LAST, [LENGTH]),
    ("middle of the third epoch", at_iteration(2 * LENGTH + 2), OFTEN, None, [2 * LENGTH + 1, 2 * LENGTH + 2]),
]


def kill_when(reached, run, process):
    """Kill a process of ``Zygote.start`` and its workers at the moment described; fail when it ends before."""
    deadline = time.monotonic() + 60
    while not reached(run):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill_group()
            pytest.fail(f"the moment never came:\n{process.output[-3000:]}")
        time.sleep(0.0005)
    process.kill_group()
    assert process.returncode == -signal.SIGKILL, process.output


def finish(process):
    assert process.wait() == 0, process.output[-3000:]
    return process.output


def losses(run):
    return [(line["iteration"], line["loss"]) for line in map(json.loads, (run / "metrics.json").open())]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """An uninterrupted run, and one that was killed at every point of KILLS, with what each left."""
    folder = tmp_path_factory.mktemp("resume")
    pictures(folder / "data", LENGTH * 8)
    whole, killed, left = folder / "whole", folder / "killed", {}
    with Zygote("pretrain") as zygote:
        uninterrupted = zygote.start(flags(folder, output=whole, **OPTIONS), folder / "log_whole")
        for name, reached, changes, half_written, _ in KILLS:
            process = zygote.start(flags(folder, output=killed, **OPTIONS | changes), folder / "log_killed")
            kill_when(reached, killed, process)
            if half_written:
                assert any(killed.glob(f".{half_written}.*.part")), f"{name}: the kill came too late"
            last = killed / LAST
            left[name] = load_checkpoint(last)["iteration"] if last.exists() else None
        again = flags(folder, output=killed, records=folder / "records_killed", **OPTIONS)
        said = finish(zygote.start(again, folder / "log_killed"))
        finish(uninterrupted)
    return folder, whole, killed, left, said


def test_every_kill_left_the_last_good_checkpoint(runs):
    left = runs[3]
    for name, _, _, _, allowed in KILLS:
        assert left[name] in allowed, name


def test_weights_optimiser_and_all_else_are_bit_identical(runs):
    _, whole, killed, _, _ = runs
    names = [LAST, "checkpoint_0002.pth", "checkpoint_0004.pth"]
    for name in names:
        first, second = load_checkpoint(whole / name), load_checkpoint(killed / name)
        for varying in ("seconds", "config"):  # the config holds the folder
            first.pop(varying), second.pop(varying)
        assert first.keys() == second.keys()
        for key in first:
            assert equal(first[key], second[key]), f"{name}: {key}"
        assert first["iteration"] == first["epoch"] * LENGTH
    assert (whole / "backbone.safetensors").read_bytes() == (killed / "backbone.safetensors").read_bytes()


def test_the_log_has_every_iteration_once_with_the_same_loss(runs):
    _, whole, killed, _, _ = runs
    assert [iteration for iteration, _ in losses(whole)] == list(range(1, EPOCHS * LENGTH + 1))
    assert losses(killed) == losses(whole)


def test_nothing_half_written_stays(runs):
    _, whole, killed, _, _ = runs
    assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in whole.iterdir())


def test_it_says_where_it_goes_on_and_the_time_of_all_parts_is_counted(runs):
    folder, _, _, _, said = runs
    assert f"continuing at iteration {runs[3]['middle of the third epoch']} of {EPOCHS * LENGTH} (epoch 2." in said
    (path,) = (folder / "records_killed").glob("*.json")
    record = RunRecord.read(path)
    assert (record.status, record.epochs, record.total_epochs) == ("completed", EPOCHS, EPOCHS)
    (path,) = (folder / "records").glob("*.json")
    undisturbed = RunRecord.read(path)
    assert record.weights_sha256 == undisturbed.weights_sha256  # of the tensors; the files hold times and paths
    assert record.file_sha256 != undisturbed.file_sha256
    assert record.duration_seconds > load_checkpoint(folder / "killed" / "checkpoint_0002.pth")["seconds"]
