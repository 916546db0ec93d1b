"""The encoder, and the weights that every run with a seed starts from."""

import pytest
import torch
import torchvision

from pretrain.networks.encoder import build_backbone, untrained_backbone
from tests.pretrain.runs import method


@pytest.mark.parametrize(("arch", "features", "blocks"), [("resnet18", 512, 8), ("resnet50", 2048, 16)])
def test_backbone_is_torchvisions_with_the_last_norm_of_each_branch_at_zero(arch, features, blocks):
    torch.manual_seed(3)
    ours = build_backbone(arch)
    torch.manual_seed(3)
    theirs = getattr(torchvision.models, arch)(zero_init_residual=True).state_dict()
    state = ours.state_dict()
    assert list(state) == [name for name in theirs if not name.startswith("fc.")]
    assert all(torch.equal(state[name], theirs[name]) for name in state)
    zero = [name for name, value in state.items() if name.endswith("weight") and not value.any()]
    assert len(zero) == blocks
    assert ours.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, features)


def test_untrained_backbone_has_the_265_tensors_and_depends_on_the_seed():
    state = untrained_backbone("resnet50", seed=4)
    assert len([name for name in state if not name.endswith("num_batches_tracked")]) == 265
    assert all(torch.equal(state[name], value) for name, value in untrained_backbone("resnet50", seed=4).items())
    assert not torch.equal(state["conv1.weight"], untrained_backbone("resnet50", seed=5)["conv1.weight"])


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_untrained_backbone_is_the_encoder_that_a_run_starts_from(arch):
    """Whatever was drawn before, and whatever the sizes of the projector."""
    torch.manual_seed(99)
    torch.rand(5)
    encoder = method(arch=arch, seed=6).encoder.state_dict()
    untrained = untrained_backbone(arch, seed=6)
    assert list(encoder) == list(untrained)
    assert all(torch.equal(encoder[name], untrained[name]) for name in encoder)


def test_drawing_the_weights_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    method()
    untrained_backbone("resnet18", 0)
    assert torch.equal(torch.rand(3), expected)
