"""docs/examples: a method of one's own is one file and one recipe, and everything else finds it there."""

import numpy as np
import pytest
import torch

import pretrain.methods
import pretrain.recipes
from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from pretrain.methods.registry import method_names
from pretrain.training.command_line import resolve
from pretrain.training.recipe import differences
from tests.pretrain.methods.small import batch, loss_of, progress, small_method

EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture
def added(monkeypatch):
    """The example's file among the methods, and its recipe among the recipes."""
    monkeypatch.setattr(pretrain.methods, "__path__", [*pretrain.methods.__path__, str(EXAMPLES)])
    monkeypatch.setattr(pretrain.recipes, "__path__", [*pretrain.recipes.__path__, str(EXAMPLES)])


def test_it_is_short_and_the_docs_show_it_as_it_is():
    text = (EXAMPLES / "tico.py").read_text()
    assert len(text.splitlines()) < 100
    assert text in (ROOT / "docs" / "adding_a_method.md").read_text()


def test_by_being_there_it_is_registered_with_its_options_and_recipe(added):
    assert "tico" in method_names()
    config = resolve(["--method=tico", "--data=x", "--rho=4"])
    assert (config.options.rho, config.batch_size, config.optimizer) == (4.0, 4096, "lars")
    assert differences(config) == {"rho": {"released": 8.0, "here": 4.0}}
    assert resolve(["--method=tico"]).image_size == 48
    with pytest.raises(UserError, match="--rho belongs to --method tico, not to kernel_ssl"):
        resolve(["--rho=4"])


# The row of vectors: (online, target, old covariance, loss), by NumPy from the paper's equations 4 to 6.
def reference(online, target, old, beta=0.9, rho=8.0):
    z, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (online, target))
    covariance = beta * old + (1 - beta) * sum(np.outer(row, row) for row in z) / len(z)
    return 1 - np.mean([a @ b for a, b in zip(z, t, strict=True)]) + rho * np.mean([a @ covariance @ a for a in z])


def test_its_loss_is_the_formula(added):
    rng = np.random.default_rng(0)
    method = small_method("tico").double()
    online, target = rng.normal(size=(5, 16)), rng.normal(size=(5, 16))
    old = np.cov(rng.normal(size=(16, 40)))
    method.covariance.copy_(torch.from_numpy(old))
    found = method.loss([torch.from_numpy(online)], [torch.from_numpy(target)]).total.item()
    assert found == pytest.approx(reference(online, target, old), rel=1e-12)


def test_it_learns_and_remembers(added):
    method = small_method("tico")
    views, _ = batch(method)
    optimiser = torch.optim.SGD(method.trainable(), 0.02, momentum=0.9)
    losses = []
    for _ in range(6):
        loss = loss_of(method, views, None)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    method.after_step(progress(), [method.encode(views).rows[0].detach()], ())
    assert method.state_dict()["covariance"].trace().item() == pytest.approx(0.1, rel=1e-3)
