"""Runs of pretrain/run.py that fail: divergence, collapse, and what looks like either."""

import dataclasses

import pytest
import torch

from benchmark.core.errors import RunFailed
from pretrain.engine.checkpoint import LAST, load_checkpoint
from pretrain.methods.kernel_ssl import KernelSSL
from pretrain.run import main
from pretrain.training.hooks import FailureSignatures
from tests.pretrain.runs import call, flags, pictures, record_of, said_by


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("data"))


def check_diverged(folder):
    record = record_of(folder)
    assert record.status == "diverged"
    assert record.details["iteration"] == 3
    assert record.details["lr_at_end"] > 1e28
    assert "the loss is not finite at iteration 3" in record.details["reason"]
    assert record.epochs == 1
    # Step 1 has lr 0 in the warm-up and ends an epoch; the weights of step 2 are beyond float32, and are not written.
    last = load_checkpoint(folder / "run" / LAST)
    assert last["iteration"] == 1
    assert all(torch.isfinite(value).all() for value in last["model"].values())


DIVERGING = {"lr": 1e38, "weight_decay": 1e6, "epochs": 10, "warmup_epochs": 1.5, "batch_size": 24}


def test_a_run_that_diverges_says_so_and_keeps_the_last_good_checkpoint(data, tmp_path):
    with pytest.raises(RunFailed, match=r"the loss is not finite at iteration 3 .* the last good checkpoint"):
        main(flags(tmp_path, data, **DIVERGING))
    check_diverged(tmp_path)


def test_processes_that_diverge_together_write_one_record(data, tmp_path):
    done = call(flags(tmp_path, data, **DIVERGING), processes=2)
    assert done.returncode == 1
    assert done.stderr.count("failed: the loss is not finite at iteration 3") == 1
    check_diverged(tmp_path)


@pytest.fixture
def short_window(monkeypatch):
    """The signatures compare windows of 10 iterations instead of 50."""
    monkeypatch.setattr(FailureSignatures.__init__, "__defaults__", (10, 0))


def warnings_of(folder, data, **changes):
    """Return the failure signatures in the record of a run, and what it said."""
    text = said_by(flags(folder, data, **changes))
    return record_of(folder).details["warnings"], text


def test_black_images_collapse_and_leave_no_gradient(tmp_path):
    found, text = warnings_of(tmp_path, pictures(tmp_path / "data", 16, level=0), epochs=1)
    assert set(found) >= {"collapse of the backbone", "collapse of the projector", "vanishing gradient"}
    assert text.count("warning: collapse of the backbone at iteration 1: effective rank 1.00") == 1


def test_a_loss_that_does_not_move_and_a_gradient_that_explodes(data, tmp_path, short_window, monkeypatch):
    """A learning rate of nothing; and a loss that is a million times itself in the last of 24 steps."""
    loss, calls = KernelSSL.loss, []

    def at_last_enormous(self, *arguments):
        calls.append(None)
        found = loss(self, *arguments)
        return dataclasses.replace(found, total=found.total * (1e6 if len(calls) == 24 else 1.0))

    monkeypatch.setattr(KernelSSL, "loss", at_last_enormous)
    found, text = warnings_of(tmp_path, data, lr=1e-9, batch_size=4, epochs=4, log_every=99)
    assert set(found) == {"loss does not move", "exploding gradient"}
    assert "warning: exploding gradient at iteration 24: its norm is" in text
    assert found["loss does not move"].startswith("iteration 20: ")
