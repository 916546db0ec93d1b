"""Process groups on the GPU: NCCL with one rank, gloo with two; torch's SyncBN and Detectron2's naive one."""

import os
import subprocess
import sys

import pytest
import torch

from benchmark.core.folder import ROOT
from tests.gpu import in_processes
from tests.gpu.setting import DEVICE, DRY

GROUPS = {"NCCL, one rank": ("nccl", 1), "gloo, two ranks": ("gloo", 2)}
ONLY_GPU = [pytest.param(name, marks=pytest.mark.cuda_only) if "NCCL" in name else name for name in GROUPS]


@pytest.fixture(scope="module", params=ONLY_GPU)
def found(request, tmp_path_factory):
    """What the processes of a group found."""
    backend, ranks = GROUPS[request.param]
    folder = tmp_path_factory.mktemp("group")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--standalone"]
    command = [*launcher, in_processes.__file__, str(folder), backend, DEVICE.type]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


@pytest.mark.parametrize("norm", ["synchronised", "naive"])
def test_equals_one_process_with_the_joined_batch(found, norm, record_property):
    if norm == "synchronised" and DRY:
        pytest.skip("torch's SyncBN runs on GPUs only")
    plain = "plain without the second" if norm == "naive" else "plain"
    expected = in_processes.value_and_gradients(plain, DEVICE, slice(0, in_processes.BATCH))
    worst = 0.0
    for process in found:
        assert process[norm].keys() == expected.keys()
        for name, value in expected.items():
            if norm == "naive" and name.endswith("running_var"):
                continue  # Detectron2 keeps the biased variance
            difference = (process[norm][name] - value).norm() / value.norm().clamp_min(1e-4)
            worst = max(worst, difference.item())
            assert difference < 1e-3, name
    record_property("worst deviation, relative", worst)
