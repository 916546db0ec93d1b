"""Kernel-SSL's network: which parts there are, what each of them sees, and what follows what."""

import pytest
import torch

from pretrain.methods.base import Progress
from tests.pretrain.runs import method


@pytest.fixture
def made():
    return method(projector_hidden=24)


@pytest.fixture
def views():
    return [torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]


def test_the_momentum_branch_is_a_copy_without_predictor_and_without_gradient(made, views):
    state = made.state_dict()
    parts = {name.split(".")[0] for name in state}
    assert parts == {"encoder", "projector", "predictor", "momentum_encoder", "momentum_projector"}
    for part in ("encoder", "projector"):
        names = [name for name in state if name.startswith(f"{part}.")]
        assert names
        assert all(torch.equal(state[name], state[f"momentum_{name}"]) for name in names)
    assert not any(p.requires_grad for name, p in made.named_parameters() if name.startswith("momentum_"))
    assert not any(rows.requires_grad for rows in made.target(views))


def test_the_momentum_branch_follows_after_the_step_by_the_cosine(made):
    """At a quarter of the run 1 - momentum is (1 - 0.996) (1 + cos(pi / 4)) / 2."""
    progress = Progress(25, 100, 10)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made.before_step(progress)
    with torch.no_grad():
        made.encoder.conv1.weight.add_(1.0)
    assert torch.equal(made.momentum_encoder.conv1.weight, before["momentum_encoder.conv1.weight"])
    made.after_step(progress, (), ())
    moved = made.momentum_encoder.conv1.weight - before["momentum_encoder.conv1.weight"]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.004 * 0.8535534), rtol=1e-3, atol=1e-6)


def test_the_momentum_branch_keeps_its_own_running_statistics(made, views):
    made.train()
    made.target(views)
    assert made.momentum_encoder.bn1.num_batches_tracked == 2
    assert made.encoder.bn1.num_batches_tracked == 0


def test_rows_are_predictions_and_the_diagnostics_see_view_1_before_the_predictor(made, views):
    made.eval()
    found = made.encode(views)
    assert (found.features.shape, found.projection.shape) == ((4, 512), (4, 32))
    assert torch.equal(found.features, made.encoder(views[0]))
    assert torch.equal(found.projection, made.projector(found.features))
    for rows, view in zip(found.rows, views, strict=True):
        assert torch.equal(rows, made.predictor(made.projector(made.encoder(view))))
    for rows, view in zip(made.target(views), views, strict=True):
        torch.testing.assert_close(rows, made.projector(made.encoder(view)))
