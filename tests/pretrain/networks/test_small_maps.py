"""Convolutions on tiny maps: torchvision's values and gradients, computed as matrix products on the CPU."""

import pytest
import torch
import torchvision
from torch import nn

from pretrain.networks.encoder import build_backbone
from pretrain.networks.small_maps import SmallMapConv2d


@pytest.mark.parametrize("side", [1, 2, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_is_torchs_with_its_gradients_on_maps_of_every_size(side, stride, layout):
    torch.manual_seed(side)
    theirs = nn.Conv2d(6, 10, 3, stride, padding=1, bias=False).double()
    ours = SmallMapConv2d(6, 10, 3, stride, padding=1, bias=False).double()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(4, 6, side, side + side % 2, dtype=torch.double).contiguous(memory_format=layout)
    found = []
    for conv in (theirs, ours):
        given = images.clone().requires_grad_()
        output = conv(given)
        output.sin().sum().backward()
        found.append((output, given.grad, conv.weight.grad))
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("arch", "side"), [("resnet18", 32), ("resnet50", 48)])
def test_a_backbone_computes_what_torchvisions_does_where_its_last_maps_are_tiny(arch, side):
    torch.manual_seed(1)
    ours = build_backbone(arch, zero_init=False)
    theirs = getattr(torchvision.models, arch)()
    theirs.fc = nn.Identity()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(4, 3, side, side, dtype=torch.double)
    outputs = []
    for network in (ours, theirs):
        network.double().train()(images).square().mean().backward()
        outputs.append([network(images), *(parameter.grad for parameter in network.parameters())])
    for value, expected in zip(*outputs, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-10)


def test_only_3x3_convolutions_are_changed_and_parameters_keep_their_names():
    kinds = {name: type(module) for name, module in build_backbone("resnet50").named_modules()}
    changed = [name for name, kind in kinds.items() if kind is SmallMapConv2d]
    assert len(changed) == 16
    assert all(name.endswith("conv2") for name in changed)
