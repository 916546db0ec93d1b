"""The momentum copy: the same weights without gradient, and an EMA of parameters alone."""

import torch
from torch import nn

from pretrain.networks.momentum import follow, momentum_copy


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_a_copy_is_equal_and_carries_no_gradient():
    online = network()
    copied = momentum_copy(online)
    assert all(torch.equal(value, online.state_dict()[name]) for name, value in copied.state_dict().items())
    assert not any(p.requires_grad for p in copied.parameters())
    assert all(p.requires_grad for p in online.parameters())
    with torch.no_grad():
        online[0].weight.add_(1.0)
    assert not torch.equal(copied[0].weight, online[0].weight)


def test_following_moves_parameters_by_the_formula_and_leaves_buffers_alone():
    online = network()
    copied = momentum_copy(online)
    with torch.no_grad():
        for value in [*online.parameters(), *online.buffers()]:
            value.add_(2)
    before = {name: value.clone() for name, value in copied.state_dict().items()}
    follow([(copied, online)], 0.9)
    parameters = {name for name, _ in copied.named_parameters()}
    for name, value in copied.state_dict().items():
        expected = 0.9 * before[name] + 0.1 * online.state_dict()[name] if name in parameters else before[name]
        torch.testing.assert_close(value, expected)


def test_a_momentum_of_one_stands_still():
    online = network()
    copied = momentum_copy(online)
    before = copied[0].weight.clone()
    with torch.no_grad():
        online[0].weight.add_(1.0)
    follow([(copied, online)], 1.0)
    assert torch.equal(copied[0].weight, before)
