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
from tests.pretrain.methods.test_rows_of_vectors import row_of


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


def test_its_row_of_vectors_is_the_formula():
    """Equations 4 to 6 of the paper."""
    row = row_of("tico")
    z, t = (np.array(x) / np.linalg.norm(x, axis=1, keepdims=True) for x in (row["rows"][0], row["targets"][0]))
    covariance = 0.9 * np.array(row["buffers"]["covariance"]) + 0.1 * sum(np.outer(a, a) for a in z) / len(z)
    contrast = np.mean([a @ covariance @ a for a in z])
    assert row["loss"] == pytest.approx(1 - np.mean(np.sum(z * t, axis=1)) + 20 * contrast, rel=1e-12)


def test_the_covariance_follows_the_batches_and_is_kept():
    """0.9 of nothing and 0.1 of a batch of unit rows: its trace is 0.1, then 0.19."""
    method = small_method("tico")
    rows = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    for trace in (0.1, 0.19):
        method.after_step(progress(), [rows], ())
        assert method.state_dict()["covariance"].trace().item() == pytest.approx(trace, rel=1e-5)
