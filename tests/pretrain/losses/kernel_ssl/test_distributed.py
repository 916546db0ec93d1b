"""Two gloo processes give the value and the parameter gradient of one process with the joined batch."""

import subprocess
import sys

import pytest
import torch

from tests.pretrain.losses.kernel_ssl import two_processes
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


@pytest.mark.parametrize("name", two_processes.OPTIONS)
def test_value_and_parameter_gradient_are_those_of_the_joined_batch(found, name):
    options = two_processes.OPTIONS[name]
    expected = two_processes.value_and_gradients(options, slice(0, two_processes.BATCH))
    half = two_processes.value_and_gradients(options, slice(0, two_processes.BATCH // 2))
    for key, value in expected.items():
        assert value.abs().max() > 1e-4
        for process in found:
            torch.testing.assert_close(process[name][key], value, rtol=1e-9, atol=1e-12)
        assert (half[key] - value).norm() > 1e-5 * value.norm()  # half a batch is not the same
