"""Two gloo processes give the value and the parameter gradient of one process with the joined batch."""

import subprocess
import sys

import pytest
import torch

from pretrain.losses import barlow_twins_loss
from tests.pretrain.losses import two_processes
from tests.pretrain.runs import environment


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of the two processes found."""
    folder = tmp_path_factory.mktemp("two")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [*launcher, two_processes.__file__, str(folder)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", two_processes.LOSSES)
def test_value_and_parameter_gradient_are_those_of_the_joined_batch(found, name):
    loss = two_processes.LOSSES[name]
    expected = two_processes.value_and_gradients(loss, slice(0, two_processes.BATCH))
    half = two_processes.value_and_gradients(loss, slice(0, two_processes.BATCH // 2))
    for key, value in expected.items():
        if key == "2.bias" and name in ("barlow_twins", "vicreg"):
            continue  # these losses do not see what all rows share: the gradient is 0
        assert value.abs().max() > 1e-4
        for process in found:
            torch.testing.assert_close(process[name][key], value, rtol=1e-9, atol=1e-12)
        assert (half[key] - value).norm() > 1e-5 * value.norm()  # half a batch is not the same


def test_barlow_twins_released_gradient_is_a_share_of_the_true_one(found):
    """Two processes of the released form have the value of one and half of its gradient, as ``processes=2`` says."""
    expected = two_processes.value_and_gradients(
        lambda o1, o2, t1, t2: barlow_twins_loss(o1, o2, processes=2), slice(0, two_processes.BATCH)
    )
    for process in found:
        for key, value in expected.items():
            torch.testing.assert_close(process["barlow_twins as released"][key], value, rtol=1e-9, atol=1e-12)
