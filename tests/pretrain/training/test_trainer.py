"""A training step against the same step written out here; precisions; stopping before a bad step."""

import math

import pytest
import torch

from pretrain.engine.failures import Diverged
from pretrain.engine.processes import choose_device
from pretrain.images.listing import list_images
from pretrain.images.loading import make_loader, normalised
from pretrain.images.recipe import ViewSettings
from pretrain.losses import kernel_ssl_loss
from pretrain.methods.base import LossResult
from pretrain.training.trainer import PretrainTrainer
from tests.pretrain.runs import config, method, pictures

CPU = torch.device("cpu")
TINY = {"image_size": 16, "batch_size": 2}  # fp16 takes seconds a step on CPUs


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return list_images(pictures(tmp_path_factory.mktemp("data")))


def snapshot(trainer):
    return {name: value.clone() for name, value in trainer.method.state_dict().items()}


def started(paths, **changes):
    """Return a trainer that is about to take its first step."""
    trainer = PretrainTrainer(config(**changes), paths, CPU)
    trainer.iter = trainer.start_iter = 0
    trainer.before_train()
    return trainer


def steps(trainer, count):
    for _ in range(count):
        trainer.run_step()
        trainer.iter += 1


def test_steps_equal_the_recipe_written_out(paths):
    """Crossed views, predictor online only, both branches in train mode, SGD with decay, then the EMA."""
    trainer = started(paths, lr=4.0, ema=0.5, weight_decay=0.01, gamma=0.3, epochs=1, warmup_epochs=0.0)
    steps(trainer, 3)

    b = method(lr=4.0, ema=0.5, weight_decay=0.01, gamma=0.3).to(memory_format=torch.channels_last).train()
    trained = [p for part in (b.encoder, b.projector, b.predictor) for p in part.parameters() if p.requires_grad]
    moving = [p for part in (b.momentum_encoder, b.momentum_projector) for p in part.parameters()]
    followed = [p for part in (b.encoder, b.projector) for p in part.parameters()]
    velocity = [torch.zeros_like(p) for p in trained]
    loader = make_loader(paths, ViewSettings(32), batch_size=8, seed=0, workers=0, total_iterations=3)
    for iteration, batch in enumerate(loader):
        views = [normalised(view, CPU) for view in batch.views]
        online = [b.predictor(b.projector(b.encoder(view))) for view in views]
        with torch.no_grad():
            target = [b.momentum_projector(b.momentum_encoder(view)) for view in views]
        loss = kernel_ssl_loss(*online, *target, gamma=0.3)
        gradients = torch.autograd.grad(loss, trained)
        cosine = (1 + math.cos(math.pi * iteration / 3)) / 2
        with torch.no_grad():
            for p, v, g in zip(trained, velocity, gradients, strict=True):
                v.mul_(0.9).add_(g + 0.01 * p)
                p.sub_(4.0 * 8 / 256 * cosine * v)
            for old, new in zip(moving, followed, strict=True):
                momentum = 1 - 0.5 * cosine
                old.mul_(momentum).add_((1 - momentum) * new)
    assert trainer.last.loss == pytest.approx(loss.item(), abs=1e-5)
    for name, value in trainer.method.state_dict().items():
        torch.testing.assert_close(value, b.state_dict()[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_steps_change_everything_but_the_frozen_bias(paths):
    trainer = started(paths, epochs=4, warmup_epochs=0.0, ema=0.9)
    before = snapshot(trainer)
    steps(trainer, 2)  # zero-initialised norms let no gradient through in the first
    after = snapshot(trainer)
    unchanged = {name for name, value in after.items() if torch.equal(value, before[name])}
    assert unchanged == {"projector.6.bias", "momentum_projector.6.bias"}


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_precision_of_network_and_loss(paths, precision, dtype):
    trainer = started(paths, precision=precision, **TINY)
    seen = []
    trainer.method.encoder.conv1.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    loss = trainer.method.loss

    def look(rows, targets, labels, details):
        seen.extend(f"loss {f.dtype}" for f in (*rows, *targets))
        return loss(rows, targets, labels, details)

    trainer.method.loss = look
    steps(trainer, 1)
    assert set(seen) == {dtype, "loss torch.float32"}
    assert all(value.dtype in (torch.float32, torch.int64) for value in trainer.method.state_dict().values())
    assert trainer.scaler.is_enabled() == (precision == "fp16")


def test_weights_and_views_are_channels_last(paths):
    trainer = started(paths)
    seen = []
    trainer.method.encoder.layer1[0].conv1.register_forward_pre_hook(lambda m, i: seen.append(i[0]))
    steps(trainer, 1)
    assert trainer.method.encoder.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)


def loss_that_is(value):
    return lambda rows, *rest: LossResult(rows[0].sum() * 0 + value)


def gradient_that_is_nan(rows, *rest):
    return LossResult((rows[0].sum() * 0).sqrt())


@pytest.mark.parametrize(
    ("terms", "what"),
    [(loss_that_is(math.nan), "loss"), (loss_that_is(math.inf), "loss"), (gradient_that_is_nan, "gradient")],
    ids=["NaN loss", "infinite loss", "NaN gradient"],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_bad_step_is_not_taken(paths, terms, what, precision):
    trainer = started(paths, precision=precision, warmup_epochs=0.0)
    steps(trainer, 1)
    before = {name: p.detach().clone() for name, p in trainer.method.named_parameters()}
    trainer.method.loss = terms
    with pytest.raises(Diverged, match=f"the {what} is not finite at iteration 2 ") as stopped:
        steps(trainer, 1)
    assert (stopped.value.iteration, stopped.value.lr) == (2, trainer.lr_schedules[0](1))
    assert all(torch.equal(p, before[name]) for name, p in trainer.method.named_parameters())


def test_fp16_passes_over_an_overflow_and_lowers_its_scale(paths):
    trainer = started(paths, precision="fp16", warmup_epochs=0.0, **TINY)
    trainer.scaler = trainer.step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    before = {name: p.detach().clone() for name, p in trainer.method.named_parameters()}
    steps(trainer, 1)
    assert trainer.scaler.get_scale() == 2.0**59
    assert all(torch.equal(p, before[name]) for name, p in trainer.method.named_parameters())
    assert not math.isfinite(trainer.last.gradient_norm)
    assert math.isfinite(trainer.last.loss)


def test_fp16_stops_when_no_overflow_explains_the_gradient(paths):
    """A scale of 1 multiplies nothing: a gradient that is no number then is the run's own."""
    trainer = started(paths, precision="fp16", warmup_epochs=0.0, **TINY)
    trainer.scaler = trainer.step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    trainer.method.loss = gradient_that_is_nan
    with pytest.raises(Diverged, match="the gradient is not finite at iteration 2 "):
        steps(trainer, 5)


def test_an_epoch_counts_when_it_is_complete(paths):
    trainer = PretrainTrainer(config(epochs=2), paths, CPU)
    assert trainer.iterations_per_epoch == 3
    found = []
    for trainer.iter in range(6):  # hooks, which save, run after a step and before the count
        found.append(trainer.state()["epoch"])
    assert found == [0, 0, 1, 1, 1, 2]


def test_state_restored_in_the_middle_goes_on_bit_by_bit(paths):
    whole = started(paths, epochs=2)
    steps(whole, 5)
    first = started(paths, epochs=2)
    steps(first, 3)
    first.iter -= 1  # hooks, which save, run after a step and before the count
    content = first.state()
    assert content["iteration"] == 3
    second = PretrainTrainer(config(epochs=2), paths, CPU)
    second.iter = second.start_iter = second.load_state(content)
    second.before_train()
    steps(second, 2)
    assert all(torch.equal(value, second.method.state_dict()[name]) for name, value in snapshot(whole).items())


def test_equal_seeds_give_equal_runs_and_others_do_not(paths):
    first, again, other = (started(paths, seed=seed) for seed in (1, 1, 2))
    for trainer in (first, again, other):
        steps(trainer, 2)
    assert first.last.loss == again.last.loss != other.last.loss


def test_a_gpu_that_is_not_there():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    from benchmark.core.errors import UserError

    with pytest.raises(UserError, match="--device cuda was given but no GPU"):
        choose_device("cuda")
    assert choose_device("auto") == CPU
