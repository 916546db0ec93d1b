"""LARS and LARC against the official codes' steps; what they leave alone; SGD as in the recipe."""

import pytest
import torch
from torch import nn

from pretrain.methods.base import ParameterGroup
from pretrain.training.optimisers import LARC, LARS, make_optimiser
from tests.pretrain.losses.vectors import read, tensor
from tests.pretrain.runs import config, method

OFFICIAL = read("optimizers")


def official_parameters():
    return {name: nn.Parameter(tensor(value)) for name, value in OFFICIAL["params"].items()}


def official_optimiser(case, parameters):
    settings = {"momentum": case["momentum"], "weight_decay": case["weight_decay"], "trust": case["eta"]}
    if case["optimizer"] == "swav":
        return LARC(parameters, lr=1.0, **settings)
    return LARS(parameters, lr=1.0, lr_in_velocity=case["optimizer"] == "simclr", **settings)


@pytest.mark.parametrize("case", OFFICIAL["cases"], ids=lambda case: f"{case['optimizer']}-{case['weight_decay']}")
def test_equals_the_official_steps(case):
    """Four steps at four learning rates, 0 among them, with a weight of zeros and a gradient of zeros."""
    parameters = official_parameters()
    optimiser = official_optimiser(case, parameters.values())
    for gradients, lr, after in zip(OFFICIAL["grads"], OFFICIAL["lrs"], case["params_after"], strict=True):
        optimiser.param_groups[0]["lr"] = lr
        for name, parameter in parameters.items():
            parameter.grad = tensor(gradients[name])
        optimiser.step()
        for name, parameter in parameters.items():
            torch.testing.assert_close(parameter.detach(), tensor(after[name]), rtol=0, atol=1e-12)
            assert torch.equal(parameter.grad, tensor(gradients[name]))  # the gradient stays for whoever logs it


def test_the_official_cases_tell_the_optimisers_apart():
    assert len(OFFICIAL["cases"]) == 10
    after = {(case["optimizer"], case["weight_decay"]): case["params_after"] for case in OFFICIAL["cases"]}
    assert after["simclr", 0.02] != after["byol", 0.02] != after["swav", 0.02] != after["byol", 1e-6]


def test_groups_have_choices_of_their_own():
    """A group may be decayed without being adapted, and vectors may be treated like all others."""
    torch.manual_seed(0)
    matrix, vector = (nn.Parameter(torch.randn(*shape).double()) for shape in ((3, 2), (3,)))
    before = [matrix.detach().clone(), vector.detach().clone()]
    groups = [{"params": [matrix], "adapted": False}, {"params": [vector], "exclude_vectors": False, "lr": 2.0}]
    optimiser = LARS(groups, lr=0.5, weight_decay=0.1)
    matrix.grad, vector.grad = torch.ones(3, 2).double(), torch.ones(3).double()
    optimiser.step()
    torch.testing.assert_close(matrix.detach(), before[0] - 0.5 * (1 + 0.1 * before[0]))
    direction = 1 + 0.1 * before[1]
    expected = before[1] - 2.0 * 0.001 * before[1].norm() / direction.norm() * direction
    torch.testing.assert_close(vector.detach(), expected)


def test_short_weights_and_gradients_are_adapted_too():
    """Only a length of exactly 0 makes a plain step."""
    for make in (LARS, LARC):
        weight = nn.Parameter(torch.tensor([[0.3, 0.4]]).double())
        weight.grad = torch.tensor([[0.0, 0.01]]).double()
        make([weight], lr=2.0).step()
        torch.testing.assert_close(weight.detach(), tensor([[0.3, 0.4 - 2.0 * 0.001 * 0.5]]), rtol=1e-5, atol=0)


def test_parameters_without_a_gradient_stay():
    still, moving = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    for optimiser in (
        LARS([still, moving], lr=1.0, weight_decay=0.1),
        LARC([still, moving], lr=1.0),
        LARS([still], 1.0),
    ):
        moving.grad = torch.ones(2, 2)
        optimiser.step()
        assert torch.equal(still, torch.ones(2, 2))
        assert still not in optimiser.state


def test_a_state_saved_before_these_choices_existed_is_taken_over():
    optimiser = LARS([nn.Parameter(torch.ones(2, 2))], lr=1.0)
    state = optimiser.state_dict()
    for name in ("lr_in_velocity", "exclude_vectors", "adapted"):
        del state["param_groups"][0][name]
    optimiser.load_state_dict(state)
    (group,) = optimiser.param_groups
    assert (group["lr_in_velocity"], group["exclude_vectors"], group["adapted"]) == (False, True, True)


def quadratic_gradients(parameters, step):
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]


def test_lars_equals_the_formula_over_five_steps():
    """arXiv 1708.03888, eq. 6: v = m v + trust |w| / |g + b w| (g + b w);  w = w - lr v. Vectors: momentum SGD."""
    lr, momentum, decay, trust = 0.3, 0.9, 0.05, 0.001
    torch.manual_seed(0)
    tensors = [torch.randn(4, 3), torch.randn(2, 3, 3, 3), torch.randn(4)]
    parameters = [nn.Parameter(t.double()) for t in tensors]
    optimiser = LARS(parameters, lr, momentum, decay, trust)
    weights, velocities = [t.double() for t in tensors], [torch.zeros(t.shape).double() for t in tensors]
    for step in range(5):
        gradients = quadratic_gradients(parameters, step)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        optimiser.step()
        for i, gradient in enumerate(gradients):
            if weights[i].ndim > 1:
                gradient = gradient + decay * weights[i]
                gradient = gradient * trust * weights[i].norm() / gradient.norm()
            velocities[i] = momentum * velocities[i] + gradient
            weights[i] = weights[i] - lr * velocities[i]
    for parameter, weight in zip(parameters, weights, strict=True):
        assert torch.allclose(parameter, weight, rtol=1e-12, atol=0)


def test_lars_takes_a_plain_step_where_a_norm_is_zero():
    zero, moving = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimiser = LARS([zero, moving], lr=0.5)
    zero.grad, moving.grad = torch.ones(2, 2), torch.zeros(2, 2)
    optimiser.step()
    assert torch.equal(zero, torch.full((2, 2), -0.5))
    assert torch.equal(moving, torch.ones(2, 2))


def small_online():
    return method()


def test_lars_neither_decays_nor_adapts_biases_and_batch_norm():
    online = small_online()
    optimiser = make_optimiser(config(optimizer="lars", weight_decay=0.5, lr=256 / 8), online.parameter_groups())
    before = {name: p.detach().clone() for name, p in online.named_parameters()}
    for p in online.parameters():
        p.grad = torch.full_like(p, 0.01)
    optimiser.step()
    plain = 0
    for name, p in online.named_parameters():
        step = before[name] - p
        if not p.requires_grad:
            assert torch.equal(p, before[name])
        elif p.ndim == 1:
            plain += 1
            assert torch.allclose(step, torch.full_like(p, 0.01), atol=1e-6), name
        else:
            assert torch.allclose(step.norm(), 0.001 * before[name].norm(), rtol=1e-3), name
    assert plain == 2 * 20 + 2 * 2 + 2 + 1  # BN of encoder, projector, predictor, and the predictor's last bias


def test_sgd_is_momentum_09_with_decay_on_everything_trainable():
    online = small_online()
    optimiser = make_optimiser(config(weight_decay=1e-5), online.parameter_groups())
    assert type(optimiser) is torch.optim.SGD
    (group,) = optimiser.param_groups
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 1e-5, False)
    assert group["lr"] == 0.5 * 8 / 256
    frozen = online.projector[6].bias
    assert (
        len(group["params"])
        == len([name for name, _ in online.named_parameters() if not name.startswith("momentum_")]) - 1
    )
    assert all(p is not frozen for p in group["params"])


@pytest.mark.parametrize("name", ["sgd", "lars", "lars_classic", "larc"])
def test_a_restored_optimiser_continues_alike(name):
    def train(steps, interrupted):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        optimiser = make_optimiser(config(optimizer=name), [ParameterGroup(list(module.parameters()))])
        for step in range(steps):
            if step == interrupted:
                state = optimiser.state_dict()
                optimiser = make_optimiser(config(optimizer=name), [ParameterGroup(list(module.parameters()))])
                optimiser.load_state_dict(state)
            for p, gradient in zip(module.parameters(), quadratic_gradients(module.parameters(), step), strict=True):
                p.grad = gradient
            optimiser.step()
        return [p.detach() for p in module.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(train(4, None), train(4, 2), strict=True))
