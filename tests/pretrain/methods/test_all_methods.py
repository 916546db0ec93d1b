"""What holds for every method in the registry, and for the example of one's own; a new one is tested by being there."""

import pytest
import torch
from torch import nn

from benchmark.core.folder import ROOT
from benchmark.core.options import own_options, to_dict
from pretrain.cost.plan import make_plan
from pretrain.engine.checkpoint import save_checkpoint
from pretrain.images.listing import list_images
from pretrain.images.options import ViewOptions
from pretrain.methods.registry import make_method, method_class
from pretrain.networks.encoder import untrained_backbone
from pretrain.training.config import PretrainConfig
from pretrain.training.step import Step
from tests.pretrain.methods.small import (
    METHODS,
    batch,
    in_float64,
    loss_of,
    progress,
    small_config,
    small_method,
)
from tests.pretrain.runs import pictures
from transfer.checkpoints.conversion import convert_checkpoint

CPU = torch.device("cpu")
BEFORE_A_NORM = {"projector.6.bias"}
# Biases without a gradient, since the norm behind them cancels them or has no offset by intention. A method that is not
# named here may have others, but nothing beside biases.
FROZEN = {
    "barlow_twins": set(), "byol": set(), "kernel_ssl": BEFORE_A_NORM, "mec": BEFORE_A_NORM, "moco_v1": set(),
    "moco_v2": set(), "simclr": {"projector.4.bias"}, "simsiam": BEFORE_A_NORM, "supervised": set(), "swav": set(),
    "vicreg": set(),
}  # fmt: skip
every_method = pytest.mark.parametrize("name", METHODS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures in two class folders."""
    folder = tmp_path_factory.mktemp("methods")
    for name in ("cats", "dogs"):
        pictures(folder / name, 16)
    return folder


def stepper(method, micro_batch=None):
    return Step(method, method, "fp32", CPU, torch.amp.GradScaler("cpu", enabled=False), micro_batch)


@every_method
def test_its_options_are_its_own_and_documented(name):
    kind = method_class(name).Options
    assert not set(own_options(kind)) & (set(own_options(PretrainConfig)) | set(own_options(ViewOptions)))
    assert kind.__dataclass_params__.frozen
    assert all(field.metadata["help"] for field in own_options(kind).values())
    assert method_class(name).__doc__


@every_method
def test_a_few_steps_lower_the_loss_on_a_fixed_batch(name):
    method = small_method(name)
    views, labels = batch(method)
    method.before_step(progress())
    optimiser = torch.optim.SGD(method.trainable(), 0.02, momentum=0.9)
    losses = []
    for _ in range(6):
        loss = loss_of(method, views, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-2:]) < losses[0] - 0.01 * abs(losses[0])


@every_method
def test_the_gradient_reaches_exactly_what_is_trained(name):
    """Everything but the momentum branch and a few biases."""
    method = small_method(name, zero_init=False)
    views, labels = batch(method)
    method.before_step(progress())
    loss_of(method, views, labels).backward()
    without = {key for key, p in method.named_parameters() if p.grad is None}
    fixed = {key for key, _ in method.named_parameters() if key.startswith("momentum_")}
    biases = {key for key, p in method.named_parameters() if key.endswith("bias") and not p.requires_grad}
    assert without == fixed | FROZEN.get(name, biases)
    for key, p in method.named_parameters():
        assert p.grad is None or p.ndim == 1 or p.grad.norm() > 0, key
    grouped = [p for group in method.parameter_groups() for p in group.parameters]
    assert len(grouped) == len({id(p) for p in grouped})
    assert {id(p) for p in grouped} == {id(p) for p in method.parameters() if p.grad is not None}


@every_method
def test_gradient_caching_equals_the_direct_gradient_in_eval_mode(name):
    method = in_float64(small_method(name, zero_init=False))
    views, labels = batch(method, images=4)
    views = [view.double() for view in views]
    with torch.no_grad():  # running statistics of these views, by which batch norm in eval mode divides
        for norm in method.modules():
            if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                norm.momentum = 0.5
        for _ in range(4):
            method.encode(views)
            method.target(views)
    method.eval()
    method.before_step(progress())
    found = []
    for micro_batch in (None, 2):
        method.zero_grad(set_to_none=True)
        result = stepper(method, micro_batch)(views, labels, True)
        gradients = {key: p.grad.clone() for key, p in method.named_parameters() if p.grad is not None}
        found.append((result, gradients))
    (direct, expected), (cached, gradients) = found
    assert cached.loss.item() == pytest.approx(direct.loss.item(), rel=1e-6)
    assert gradients.keys() == expected.keys()
    whole = torch.stack([value.norm() for value in expected.values()]).norm()
    for key, value in expected.items():
        assert (gradients[key] - value).norm() < 1e-10 * whole, key
    assert (cached.features - direct.features).abs().max() < 1e-9
    assert all(a.shape == b.shape for a, b in zip(cached.rows, direct.rows, strict=True))


@every_method
def test_it_starts_from_the_untrained_encoder_of_its_seed(name):
    state = small_method(name, seed=6).encoder.state_dict()
    untrained = untrained_backbone("resnet18", 6)
    assert all(torch.equal(state[key], value) for key, value in untrained.items())


@every_method
def test_its_checkpoint_converts_to_265_tensors_of_each_branch(name, tmp_path):
    config = small_config(name, arch="resnet50")
    method = method_class(name)(config, 3)
    with torch.no_grad():
        for key, p in method.named_parameters():
            p.add_(1.0 if key.startswith("momentum_") else 0.0)
    content = {"model": method.state_dict(), "method": name, "epoch": 1, "total_epochs": 2, "iteration": 1}
    content |= {"identity": {}, "config": to_dict(config), "optimizer": {}, "rng": torch.get_rng_state(), "hooks": {}}
    save_checkpoint(tmp_path / "checkpoint.pth", {**content, "scaler": {}, "seconds": 0.0})
    branches = {"online": "encoder"}
    if hasattr(method, "momentum_encoder"):
        branches["momentum"] = "momentum_encoder"
    for branch, part in branches.items():
        converted = convert_checkpoint(tmp_path / "checkpoint.pth", branch=branch)
        assert len(converted["model"]) == 265
        assert converted["source"]["method"] == name
        weight = torch.as_tensor(converted["model"]["stem.conv1.weight"])
        assert torch.equal(weight, getattr(method, part).conv1.weight)


@every_method
def test_a_dry_run_says_what_it_costs(name, folder):
    config = small_config(name, images_per_second=8.0, image_size=96)
    text = make_plan(config, list_images(folder), CPU, folder / "out")
    for word in (f"method: {name}", "iterations    8 =", "parameters    encoder 11,176,512", "GFLOP / image", "memory"):
        assert word in text, text
    flops = float(text.split("GFLOP / image ")[1].split(" ")[0])
    # ResNet-18 at 96 px: 0.333 GFLOP multiply-adds, counted twice; forward, and twice that backward where gradient is.
    # (Below that, the last maps are so small that a CPU leaves out what falls into the padding.)
    assert flops == pytest.approx(2 * 0.333 * forward_units(config), rel=0.03)


def forward_units(config):
    """Return how many forward passes of one image's view a step is worth: 3 with gradient, 1 without."""
    method = make_method(config)
    images = []
    for part in (method.encoder, getattr(method, "momentum_encoder", None)):
        if part is not None:
            part.register_forward_hook(lambda module, given, found: images.append(len(given[0])))
    views = [torch.rand(4, 3, 32, 32) for _ in range(method.views)]
    method.encode(views)
    with_gradient = sum(images)
    method.target(views)
    return (2 * with_gradient + sum(images)) / 4


def test_what_the_page_says_is_what_the_records_say():
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    for name in METHODS:
        said = "; ".join(method_class(name).not_as_released)
        assert said in page, name


def test_the_page_compares_the_registered_methods_and_counts_their_lines():
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    assert {row[0].strip("`") for row in rows} == FROZEN.keys()
    for name, _, _, lines, *_ in rows:
        path = ROOT / "pretrain" / "methods" / f"{name.strip('`')}.py"
        assert int(lines) == len(path.read_text(encoding="utf-8").splitlines()), name
