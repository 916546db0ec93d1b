"""docs/examples: a method of one's own is one file and one recipe, and everything else finds it there.

That it trains, resumes, converts and so on is tested where all methods are (small.py registers it there).
"""

import numpy as np
import pytest
import torch

from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from pretrain.methods.registry import method_names
from pretrain.training.command_line import resolve
from pretrain.training.recipe import differences
from tests.pretrain.methods.small import EXAMPLES, progress, small_method


def test_it_is_short_and_the_docs_show_it_as_it_is():
    text = (EXAMPLES / "tico.py").read_text()
    assert len(text.splitlines()) < 100
    assert text in (ROOT / "docs" / "adding_a_method.md").read_text()


def test_by_being_there_it_is_registered_with_its_options_and_recipe():
    assert "tico" in method_names()
    config = resolve(["--method=tico", "--data=x", "--rho=4"])
    assert (config.options.rho, config.batch_size, config.optimizer) == (4.0, 4096, "lars")
    assert differences(config) == {"rho": {"released": 20.0, "here": 4.0}}
    assert resolve(["--method=tico"]).image_size == 48
    with pytest.raises(UserError, match="--rho belongs to --method tico, not to kernel_ssl"):
        resolve(["--rho=4"])


# The row of vectors: (online, target, old covariance, loss), by NumPy from the paper's equations 4 to 6.
def reference(online, target, old, beta=0.9, rho=20.0):
    z, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (online, target))
    covariance = beta * old + (1 - beta) * sum(np.outer(row, row) for row in z) / len(z)
    return 1 - np.mean([a @ b for a, b in zip(z, t, strict=True)]) + rho * np.mean([a @ covariance @ a for a in z])


def test_its_loss_is_the_formula():
    rng = np.random.default_rng(0)
    method = small_method("tico").double()
    online, target = rng.normal(size=(5, 16)), rng.normal(size=(5, 16))
    old = np.cov(rng.normal(size=(16, 40)))
    method.covariance.copy_(torch.from_numpy(old))
    found = method.loss([torch.from_numpy(online)], [torch.from_numpy(target)]).total.item()
    assert found == pytest.approx(reference(online, target, old), rel=1e-12)


def test_the_covariance_follows_the_batches_and_is_kept():
    """0.9 of nothing and 0.1 of a batch of unit rows: its trace is 0.1, then 0.19."""
    method = small_method("tico")
    rows = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    for trace in (0.1, 0.19):
        method.after_step(progress(), [rows], ())
        assert method.state_dict()["covariance"].trace().item() == pytest.approx(trace, rel=1e-5)
