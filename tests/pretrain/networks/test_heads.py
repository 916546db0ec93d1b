"""Heads as the methods' code has them."""

from torch import nn

from pretrain.networks.heads import siamese_predictor, siamese_projector


def kinds(module):
    return [type(part) for part in module]


def test_projector_and_predictor_are_those_of_the_recipe():
    head = siamese_projector(2048, 2048, 2048)
    linear, norm, relu = nn.Linear, nn.BatchNorm1d, nn.ReLU
    assert kinds(head) == [linear, norm, relu, linear, norm, relu, linear, norm]
    assert [tuple(head[i].weight.shape) for i in (0, 3, 6)] == [(2048, 2048)] * 3
    assert head[0].bias is None
    assert head[3].bias is None
    assert head[6].bias.requires_grad is False
    assert (head[1].affine, head[4].affine, head[7].affine) == (True, True, False)
    tail = siamese_predictor(2048, 512)
    assert kinds(tail) == [linear, norm, relu, linear]
    assert (tuple(tail[0].weight.shape), tuple(tail[3].weight.shape)) == ((512, 2048), (2048, 512))
    assert tail[0].bias is None
    assert tail[3].bias.requires_grad
