"""Two gloo processes compute what one computes on the joined batch: value, parameter gradients, queues.

The networks are in float64, where the gradients of all methods agree to 3e-13 of their length. In float32 they agree to
1e-6 with batch norm in eval mode and to 5e-5 in training (MoCo's, whose batches are halves, to 1.3e-4): batch norm over
8 or 4 images whose last maps are one pixel divides by small deviations, and that multiplies the rounding.
"""

import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.pretrain.methods import two_processes
from tests.pretrain.methods.small import METHODS, batch, in_float64, progress, remembered, small_config, small_method
from tests.pretrain.runs import environment

PER_PROCESS = ("moco_v1", "moco_v2")  # batch norm per process, with keys dealt out anew


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    launcher = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*launcher, two_processes.__file__, str(folder)], env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def check(first, second, whole, factor=1.0):
    assert first["digest"] == second["digest"]
    first, expected = first["values"], two_processes.thinned(whole)
    assert first.keys() == expected.keys()
    gradients = [value for key, value in expected.items() if not key.startswith(("loss", "buffer", "target"))]
    whole = torch.stack([value.norm() for value in gradients]).norm()
    assert whole > 1e-3
    for key, value in expected.items():
        if key.startswith(("loss", "buffer", "target")):
            torch.testing.assert_close(first[key], value, rtol=1e-6, atol=1e-6)  # float32, as the loss takes it
        else:
            assert (first[key] - factor * value).norm() < 1e-10 * whole, key


@pytest.mark.parametrize("kind", ["eval", "cached"])
@pytest.mark.parametrize("name", METHODS)
def test_with_batch_norm_in_eval_mode(found, name, kind):
    """Barlow Twins' released gradient is 1 / processes of the true one; that is its documented choice."""
    first, second = (one[f"{name} {kind}"] for one in found)
    check(first, second, two_processes.take(name, "eval"), 0.5 if name == "barlow_twins" else 1.0)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in PER_PROCESS])
def test_in_training_with_synchronised_norms(found, name):
    first, second = (one[f"{name} train"] for one in found)
    check(first, second, two_processes.take(name, "train"), 0.5 if name == "barlow_twins" else 1.0)


@pytest.mark.parametrize("name", PER_PROCESS)
def test_moco_in_training_is_per_process_with_shuffled_keys(found, name):
    """The same written out in one process: queries in two halves, keys in two halves of another order."""
    method = in_float64(small_method(name, zero_init=False))
    views = [view.double() for view in batch(method)[0]]
    method.before_step(progress())
    queries = torch.cat([method.encode([half, half]).rows[0] for half in views[0].chunk(2)]).float()
    order = torch.from_numpy(np.random.default_rng((small_config(name).seed, 0, 13)).permutation(8))
    assert order[:4].sort().values.tolist() != [0, 1, 2, 3]
    with torch.no_grad():
        shuffled = torch.cat([method.target([half, half])[0] for half in views[1][order].chunk(2)])
        keys = torch.empty_like(shuffled, dtype=torch.float32)
        keys[order] = shuffled.float()
    loss = method.loss([queries], [keys]).total
    loss.backward()
    method.after_step(progress(), (queries.detach(),), (keys,))
    expected = {key: p.grad for key, p in method.named_parameters() if p.grad is not None}
    first, second = (one[f"{name} train"] for one in found)
    check(first, second, {**expected, **remembered(method), "target 0": keys, "loss": loss.detach()})
