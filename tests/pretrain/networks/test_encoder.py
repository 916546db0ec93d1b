"""The network of method.md, part by part, and the weights that every run with a seed starts from."""

import pytest
import torch
import torchvision
from torch import nn

from pretrain.networks.encoder import Branches, build_backbone, predictor, projector, untrained_backbone


def kinds(module):
    return [type(part) for part in module]


def test_projector_and_predictor_are_those_of_the_recipe():
    head = projector(2048, 2048, 2048)
    linear, norm, relu = nn.Linear, nn.BatchNorm1d, nn.ReLU
    assert kinds(head) == [linear, norm, relu, linear, norm, relu, linear, norm]
    assert [tuple(head[i].weight.shape) for i in (0, 3, 6)] == [(2048, 2048)] * 3
    assert head[0].bias is None
    assert head[3].bias is None
    assert head[6].bias.requires_grad is False
    assert (head[1].affine, head[4].affine, head[7].affine) == (True, True, False)
    tail = predictor(2048, 512)
    assert kinds(tail) == [linear, norm, relu, linear]
    assert (tuple(tail[0].weight.shape), tuple(tail[3].weight.shape)) == ((512, 2048), (2048, 512))
    assert tail[0].bias is None
    assert tail[3].bias.requires_grad


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
    encoder = Branches(arch, 64, 32, 16, seed=6).encoder.state_dict()
    untrained = untrained_backbone(arch, seed=6)
    assert list(encoder) == list(untrained)
    assert all(torch.equal(encoder[name], untrained[name]) for name in encoder)


def test_drawing_the_weights_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    Branches("resnet18", 32, 32, 16, seed=0)
    untrained_backbone("resnet18", 0)
    assert torch.equal(torch.rand(3), expected)


@pytest.fixture
def branches():
    return Branches("resnet18", 32, 24, 16, seed=0)


def test_the_momentum_branch_is_a_copy_without_predictor_and_without_gradient(branches):
    state = branches.state_dict()
    parts = {name.split(".")[0] for name in state}
    assert parts == {"encoder", "projector", "predictor", "momentum_encoder", "momentum_projector"}
    for part in ("encoder", "projector"):
        names = [name for name in state if name.startswith(f"{part}.")]
        assert names
        assert all(torch.equal(state[name], state[f"momentum_{name}"]) for name in names)
    for part in (branches.momentum_encoder, branches.momentum_projector):
        assert not any(p.requires_grad for p in part.parameters())
    assert branches.momentum(torch.randn(4, 3, 32, 32)).requires_grad is False


def test_ema_moves_parameters_by_the_formula_and_leaves_buffers_alone(branches):
    with torch.no_grad():
        for p in branches.online().parameters():
            p.add_(1.0)
        for buffer in [*branches.encoder.buffers(), *branches.projector.buffers()]:
            buffer.add_(5)
    before = {name: value.clone() for name, value in branches.state_dict().items()}
    branches.update_momentum(0.9)
    after = branches.state_dict()
    parameters = {name for name, _ in branches.named_parameters()}
    for name, value in after.items():
        if name in parameters and name.startswith("momentum_"):
            expected = 0.9 * before[name] + 0.1 * before[name.removeprefix("momentum_")]
            assert torch.allclose(value, expected, atol=1e-6), name
        else:
            assert torch.equal(value, before[name]), name


def test_ema_of_one_stands_still(branches):
    with torch.no_grad():
        branches.encoder.conv1.weight.add_(1.0)
    before = branches.momentum_encoder.conv1.weight.clone()
    branches.update_momentum(1.0)
    assert torch.equal(branches.momentum_encoder.conv1.weight, before)


def test_the_momentum_branch_keeps_its_own_running_statistics(branches):
    branches.train()
    branches.momentum(torch.randn(4, 3, 32, 32))
    assert branches.momentum_encoder.bn1.num_batches_tracked == 1
    assert branches.encoder.bn1.num_batches_tracked == 0


def test_outputs_have_their_shapes_and_prediction_alone_passes_the_predictor(branches):
    view = torch.randn(4, 3, 32, 32)
    online = branches.online().eval()
    out = online(view)
    assert (out.features.shape, out.projection.shape, out.prediction.shape) == ((4, 512), (4, 32), (4, 32))
    assert torch.equal(out.prediction, branches.predictor(out.projection))
    assert torch.equal(out.projection, branches.projector(branches.encoder(view)))
    branches.eval()
    assert torch.allclose(branches.momentum(view), out.projection)
