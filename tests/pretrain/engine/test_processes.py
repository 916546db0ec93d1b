"""Two gloo processes equal one with the joined batch: batch norm, gathered gradients, caching, and whole runs."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark.core.errors import UserError
from pretrain.engine import processes as distributed
from pretrain.engine.checkpoint import LAST, load_checkpoint
from pretrain.networks.encoder import untrained_backbone
from pretrain.start import check_batch
from tests.pretrain.engine import two_processes
from tests.pretrain.runs import call, config, environment, flags, pictures


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of the two processes of two_processes.py found, and the folder with its data."""
    folder = tmp_path_factory.mktemp("two")
    pictures(folder / "data")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*launcher, two_processes.__file__, str(folder)], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)], folder


def test_processes_know_who_they_are(found):
    (first, second), _ = found
    assert first["who"].tolist() == [0, 2, 1, 2]
    assert second["who"].tolist() == [1, 2, 0, 2]
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)


def test_gathering_keeps_the_order_and_the_gradient(found):
    (first, second), _ = found
    rows = torch.arange(6.0).view(3, 2)
    for one in (first, second):
        assert torch.equal(one["gathered"], torch.cat([rows, rows + 10]))
    weights = torch.arange(12.0).view(6, 2)
    # Times two, because DistributedDataParallel will halve the sum over processes.
    assert torch.equal(first["by_rows"], 2 * weights[:3])
    assert torch.equal(second["by_rows"], 2 * weights[3:])


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "offset", "tolerance"),
    [
        ("norm_2d", (6, 5), torch.float64, 0.0, 1e-12),
        ("norm_4d", (6, 5, 4, 3), torch.float64, 0.0, 1e-12),
        ("norm_far", (64, 5), torch.float32, 3000.0, 1e-3),  # E[x^2] - E[x]^2 would be wrong by 1
    ],
)
def test_batch_norm_over_processes_is_that_of_the_joined_batch(found, name, shape, dtype, offset, tolerance):
    plain = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(shape[1]).double()
    expected = two_processes.run_norm(plain, *two_processes.norm_inputs(shape, offset))
    first, second = (one[name] for one in found[0])
    close = {"rtol": tolerance, "atol": tolerance, "check_dtype": False}
    for key in ("out", "by_input"):
        torch.testing.assert_close(torch.cat([first[key], second[key]]), expected[key], **close)
    torch.testing.assert_close(first["by_weight"] + second["by_weight"], expected["by_weight"], **close)
    for key in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(first[key], expected[key], **close)
        assert torch.equal(first[key], second[key])
    assert first["out"].dtype == dtype


@pytest.mark.parametrize(
    ("name", "evaluating"), [("training", False), ("cached", True)], ids=["batch norm and gather", "gradient caching"]
)
def test_parameter_gradients_are_those_of_one_process(found, name, evaluating):
    (first, second), folder = found
    expected = two_processes.first_gradients(folder, None, evaluating)
    torch.testing.assert_close(first[name]["features"], expected.pop("features"), rtol=1e-4, atol=1e-4)
    assert set(first[name]) == {*expected, "features"}
    whole = torch.stack([value.norm() for value in expected.values()]).norm()
    for key, value in expected.items():
        assert (first[name][key] - value).norm() < 1e-5 * whole, key
        assert torch.equal(first[name][key], second[name][key]), key


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed under Linux only")
def test_no_thread_is_left_when_the_processes_part(found):
    """One that is left can abort a process that has done its work, and torchrun then ends the others."""
    for one in found[0]:
        assert one["threads"] > 0
        assert one["threads_left"] == 0


def test_torchrun_for_three_steps_equals_one_process(tmp_path):
    """Weights and statistics to 1e-5, and only the main process speaks and writes."""
    pictures(tmp_path / "data", 24)
    # Eight images a batch can amplify rounding: of seeds 3, 4 and 5 the second and third end within 2e-6.
    options = {"epochs": 1, "warmup_epochs": 0, "seed": 4}
    one = call(flags(tmp_path, output=tmp_path / "one", **options))
    assert one.returncode == 0, one.stderr
    two = call(flags(tmp_path, output=tmp_path / "two", **options), processes=2)
    assert two.returncode == 0, two.stderr
    assert two.stderr.count("3 iterations, batch 8 on 2 process(es)") == 1
    assert two.stdout.count("done:") == 1
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == sorted(p.name for p in (tmp_path / "two").iterdir())
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1
    first, second = (load_checkpoint(tmp_path / name / LAST) for name in ("one", "two"))
    assert first["iteration"] == second["iteration"] == 3
    untrained = untrained_backbone("resnet18", seed=4)
    for name, value in first["model"].items():
        # Running variances are no weights and of the order of 10: there 1e-5 is relative.
        rtol = 1e-5 if "running_" in name else 0
        torch.testing.assert_close(second["model"][name], value, rtol=rtol, atol=1e-5, msg=name)
    moved = (first["model"]["encoder.conv1.weight"] - untrained["conv1.weight"]).abs().max()
    assert moved > 1e-3  # so that 1e-5 says something


def test_a_batch_must_suit_the_processes():
    check_batch(config(batch_size=8), 4)
    with pytest.raises(UserError, match="--batch-size 8 is not divisible by 3 processes"):
        check_batch(config(batch_size=8), 3)
    with pytest.raises(UserError, match="--batch-size 8 leaves one image for each of 8 processes"):
        check_batch(config(batch_size=8), 8)
    check_batch(config(batch_size=8, micro_batch=2), 2)
    for micro_batch in (3, 1):
        with pytest.raises(UserError, match=f"--micro-batch {micro_batch} does not divide the 4 images of a process"):
            check_batch(config(batch_size=8, micro_batch=micro_batch), 2)


def test_one_process_gathers_nothing_and_keeps_its_norms():
    rows = torch.ones(2, 3)
    assert distributed.gather_with_gradient(rows) is rows
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    assert distributed.synchronised_norms(module, torch.device("cpu")) is module
    assert type(module[1]) is nn.BatchNorm1d


def test_joined_norms_keep_their_parameters_and_modes(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    module = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, affine=False), nn.BatchNorm1d(3))
    module[0].bias.requires_grad = False
    module[2].eval()
    weight, bias = module[0].weight, module[0].bias
    joined = distributed.synchronised_norms(module, torch.device("cpu"))
    assert all(type(norm) is distributed.JoinedBatchNorm for norm in joined)
    assert joined[0].weight is weight
    assert joined[0].bias is bias
    assert joined[1].weight is None
    assert [norm.training for norm in joined] == [True, True, False]
