"""What is easily got wrong in each method, and wrong in some re-implementations."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.core.errors import UserError
from pretrain.images.recipe import PUBLISHED
from pretrain.losses import moco_v2_loss, swav_loss
from pretrain.methods.base import ParameterGroup, Progress
from pretrain.methods.registry import method_class
from pretrain.start import check_method
from pretrain.training.command_line import resolve
from pretrain.training.learning_rates import learning_rate
from pretrain.training.optimisers import LARC, LARS, make_optimiser
from tests.pretrain.losses.vectors import read
from tests.pretrain.methods.small import batch, loss_of, progress, small_config, small_method
from tests.pretrain.runs import pictures

IMAGENET = 1_281_167  # training images
JOINT = {"simclr", "swav"}  # both views in one forward pass: another result, because of batch norm


@pytest.mark.parametrize("name", ["simclr", "swav", "byol", "barlow_twins", "vicreg", "simsiam", "mec", "kernel_ssl"])
def test_batch_norm_sees_both_views_together_only_where_the_released_code_joins_them(name):
    method, views = small_method(name), batch(small_method(name))[0]
    views = [views[0], 3 * views[1] + 2]
    rows = method.encode(views).rows
    state = {key: value.clone() for key, value in method.state_dict().items() if "running" in key}
    other = small_method(name)
    joined = other.encoder(torch.cat(views))
    apart = torch.cat([small_method(name).encoder(view) for view in views])
    assert not torch.allclose(joined, apart, atol=1e-2)
    features = joined if name in JOINT else apart
    assert method.encoder.bn1.num_batches_tracked == (1 if name in JOINT else 2)
    torch.testing.assert_close(method.encode(views).features, features[: len(views[0])], rtol=1e-3, atol=1e-3)
    assert len(rows) >= 2
    assert state


def test_moco_moves_the_keys_encoder_before_the_forward_pass_and_the_queue_after_it():
    method = small_method("moco_v2", ema=0.9)
    views, _ = batch(method)
    with torch.no_grad():
        method.encoder.conv1.weight.add_(1.0)
    old, queue = method.momentum_encoder.conv1.weight.clone(), method.queue.clone()
    method.before_step(progress())
    torch.testing.assert_close(method.momentum_encoder.conv1.weight, old + 0.1)
    (query,), (key,) = method.encode(views).rows, method.target(views)
    assert not key.requires_grad
    assert torch.equal(method.queue, queue)
    found = method.loss([query], [key]).total
    torch.testing.assert_close(found, moco_v2_loss(query, key, queue, temperature=0.2))
    method.after_step(progress(), (query.detach(),), (key,))
    torch.testing.assert_close(method.queue[:, :8], F.normalize(key, dim=1).T)
    assert torch.equal(method.queue[:, 8:], queue[:, 8:])
    method.after_step(progress(1), (query.detach(),), (2 * key,))
    assert method.queue_ptr == 0  # 16 keys: round
    torch.testing.assert_close(method.momentum_encoder.conv1.weight, old + 0.1)


def test_moco_heads_queue_and_norms():
    assert type(small_method("moco_v1").projector) is nn.Linear
    kinds = [type(layer) for layer in small_method("moco_v2").projector]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear]
    queue = small_method("moco_v2").queue
    torch.testing.assert_close(queue.norm(dim=0), torch.ones(16))
    assert not method_class("moco_v1").synchronised_norms
    assert method_class("simclr").synchronised_norms
    assert resolve(["--data=x", "--method=moco_v1"]).options.temperature == 0.07
    assert resolve(["--data=x", "--method=moco_v2"]).options.temperature == 0.2


def test_swav_normalises_its_prototypes_before_each_step_and_freezes_them_at_first():
    method = small_method("swav", frozen_iterations=2)
    assert method.prototypes.bias is None
    with torch.no_grad():
        method.prototypes.weight.mul_(3.0)
    views, labels = batch(method)
    optimiser = make_optimiser(method.config, method.parameter_groups())
    moved = []
    for iteration in range(4):
        method.before_step(progress(iteration))
        before = method.prototypes.weight.detach().clone()
        torch.testing.assert_close(before.norm(dim=1), torch.ones(6))
        optimiser.zero_grad(set_to_none=True)
        loss_of(method, views, labels).backward()
        method.after_backward(progress(iteration))
        optimiser.step()
        moved.append(not torch.equal(before, method.prototypes.weight))
    assert moved == [False, False, True, True]


def test_swav_uses_its_queue_once_it_is_full_and_before_this_batch_enters():
    method = small_method("swav", queue_epochs=0.1)
    views, _ = batch(method)
    method.before_step(progress())
    rows = [row.detach() for row in method.encode(views).rows]
    weight = method.prototypes.weight.detach()
    for iteration in range(4):
        plain, full = swav_loss(*rows, weight), None
        found = method.loss(rows, ()).total
        if iteration < 3:  # 16 places: full after the batches of iterations 1 and 2
            torch.testing.assert_close(found, plain)
        else:
            full = swav_loss(*rows, weight, *method.queue)
            torch.testing.assert_close(found, full)
            assert not torch.allclose(full, plain)
        method.after_step(progress(iteration), [row * (1 + iteration) + iteration for row in rows], ())
    assert bool(method.queue.any())


def test_simclr_last_norm_has_a_scale_and_no_offset():
    *_, linear, last = small_method("simclr").projector
    assert linear.bias is None
    assert last.weight.requires_grad
    assert not last.bias.requires_grad
    assert not last.bias.any()


def test_optimisers_are_the_published_kinds():
    def of(name):
        method = small_method(name)
        return make_optimiser(method.config, method.parameter_groups())

    assert type(of("simclr")) is type(of("byol")) is LARS
    assert of("simclr").param_groups[0]["lr_in_velocity"]
    for name in ("byol", "barlow_twins", "vicreg"):
        assert not any(group["lr_in_velocity"] for group in of(name).param_groups)
        assert all(group["exclude_vectors"] for group in of(name).param_groups)
    assert type(of("swav")) is LARC
    for name in ("kernel_ssl", "moco_v1", "moco_v2", "simsiam", "mec", "supervised"):
        assert type(of(name)) is torch.optim.SGD


def test_barlow_twins_has_two_learning_rates():
    method = small_method("barlow_twins")
    weights, others = method.parameter_groups()
    assert all(p.ndim > 1 for p in weights.parameters)
    assert all(p.ndim == 1 for p in others.parameters)
    config = resolve(["--data=x", "--method=barlow_twins"])
    peaks = [learning_rate(config, group, 626)(6260) for group in (weights, others)]
    assert peaks == pytest.approx([1.6, 0.0384])


def test_simsiam_keeps_the_learning_rate_of_its_predictor():
    method = small_method("simsiam")
    encoder, predictor = method.parameter_groups()
    assert {id(p) for p in predictor.parameters} == {id(p) for p in method.predictor.parameters()}
    config = resolve(["--data=x", "--method=simsiam"])
    lrs = [learning_rate(config, group, 100)(9999) for group in (encoder, predictor)]
    assert lrs[0] < 1e-4
    assert lrs[1] == 0.1
    free = small_method("simsiam", constant_predictor_lr=False)
    assert not any(group.constant for group in free.parameter_groups())


def official_schedules():
    for case in read("schedules"):
        if case["quantity"].startswith("lr ") and "--fix-pred-lr" not in case["quantity"]:
            yield case


@pytest.mark.parametrize("case", official_schedules(), ids=lambda c: f"{c['method']}-{c['quantity']}-{c['hyper']}")
def test_recipes_have_the_official_learning_rates(case):
    """The recipe's own values but for length and batch of the case. Several are not 0 at the end."""
    hyper, method = case["hyper"], case["method"]
    changes = [f"--epochs={hyper['epochs']}", f"--batch-size={hyper['batch_size']}"]
    if method == "swav" and hyper["batch_size"] == 256:
        changes += ["--lr=0.6", "--warmup-epochs=0"]
    if hyper.get("scaling") == "sqrt":
        changes += ["--lr=0.075", "--lr-scaling=sqrt"]
    if method in ("barlow_twins", "vicreg", "byol", "mec") and hyper["epochs"] < 100:
        changes += ["--warmup-epochs=10"]
    config = resolve(["--data=x", f"--method={method}", *changes])
    own = 0.0048 if "biases" in case["quantity"] else hyper.get("base_lr", config.lr) if method == "vicreg" else None
    by_epoch = config.lr_changes == "epoch"
    length = hyper.get("steps_per_epoch") or (10 if by_epoch else None)
    if length is None:  # SimCLR and BYOL count steps, not epochs, and do not divide them evenly
        length = hyper["total_steps"] / hyper["epochs"]
    if by_epoch or float(length).is_integer():
        schedule = learning_rate(config, ParameterGroup([], lr=own), int(length))
        for step, value in case["values"]:
            found = schedule(step * (int(length) if by_epoch else 1))
            assert found == pytest.approx(value, rel=1e-9, abs=1e-12), step
    else:
        # An epoch here is its whole batches, so the same curve is run through in a few steps less.
        schedule = learning_rate(config, ParameterGroup([]), IMAGENET // hyper["batch_size"])
        share = config.epochs * (IMAGENET // hyper["batch_size"]) / hyper["total_steps"]
        assert 0.997 < share < 1
        for step, value in case["values"]:
            assert schedule(round(step * share)) == pytest.approx(value, abs=5e-4 * config.scaled_lr), step
        said = "; ".join(method_class(method).not_as_released)
        if hyper["epochs"] == 1000:
            assert f"{hyper['total_steps']:,} steps instead of 312,000" in said


@pytest.mark.parametrize("case", [c for c in read("schedules") if "lamda" in c["quantity"] or "EMA" in c["quantity"]],
                         ids=lambda c: f"{c['method']}-{c['quantity']}-{c['hyper']['epochs']}")  # fmt: skip
def test_momentum_and_lambda_follow_the_official_schedules(case):
    hyper = case["hyper"]
    length = hyper.get("steps_per_epoch", 10)
    total = hyper.get("total_steps", hyper["epochs"] * length)
    base = {"ema": hyper["base"]} if "base" in hyper else {}
    method = small_method(case["method"], **base)
    for step, value in case["values"]:
        if step >= total:
            continue
        method.before_step(Progress(step, total, length))
        if "EMA" in case["quantity"]:
            assert method.momentum == pytest.approx(value, rel=1e-9)
        else:  # 1 / lamda = 32 times the factor
            assert 32 * method.warmup == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_run_has_the_views_of_the_release_and_normalises_them_so(name):
    """PUBLISHED is held to torchvision's transforms in the release's order by tests/pretrain/images/test_recipe.py."""
    config = resolve(["--data=x", f"--method={name}"])
    assert config.augmentation.recipes() == PUBLISHED[name]
    assert (config.views, config.image_size) == ("reference", 224)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    own = {"simclr": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), "swav": (mean, (0.228, 0.224, 0.225))}
    assert (config.augmentation.pixel_mean, config.augmentation.pixel_std) == own.get(name, (mean, std))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    from pretrain.images.listing import list_images

    return list_images(pictures(tmp_path_factory.mktemp("flat"), 12))


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("moco_v2", {"queue_size": 20}, "--queue-size 20 is not a multiple of --batch-size 8"),
        ("moco_v1", {"queue_size": 4}, "--queue-size 4 is not a multiple of --batch-size 8"),
        ("swav", {"prototypes": 13}, "--prototypes 13 is more than the 12 images"),
        ("swav", {"prototypes": 12, "queue_size": 0}, "together are fewer than --prototypes 12"),
        ("swav", {"queue_size": 4}, "--queue-size 4 holds less than --batch-size 8"),
        ("swav", {"queue_size": 20}, "--queue-size 20 is not a multiple of --batch-size 8"),
        ("supervised", {}, "class"),
        ("simclr", {"blur_p": (0.5,), "solarize_p": (0.0,)}, "describe 1 view(s), and simclr takes 2"),
        ("supervised", {"blur_p": (0.5, 0.5), "solarize_p": (0.0, 0.0)}, "describe 2 view(s), and supervised takes 1"),
    ],
)  # fmt: skip
def test_what_does_not_suit_is_refused_before_training(images, name, changes, words):
    with pytest.raises(UserError) as refused:
        check_method(small_config(name, **changes), images)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("batch_size", "processes", "words"),
    [(256, 8, None), (256, 4, "4 processes of 64, in the released run 8 of 32"), (256, 1, "1 process of 256"),
     (512, 8, "8 processes of 64")],
)  # fmt: skip
def test_moco_says_where_its_batch_norm_sees_other_numbers_of_images(batch_size, processes, words):
    for name in ("moco_v1", "moco_v2"):
        config = resolve(["--data=x", f"--method={name}", f"--batch-size={batch_size}"])
        said = "; ".join(method_class(name).departures(config, processes))
        assert ("batch norm" in said) == (words is not None)
        assert words is None or words in said
        assert ("no others to shuffle" in said) == (processes == 1)


def test_supervised_reports_its_accuracy():
    method = small_method("supervised")
    labels = torch.tensor([0, 1, 2, 0])
    logits = F.one_hot(torch.tensor([0, 1, 0, 0]), 3).float()
    found = method.loss([logits], (), labels, details=True)
    assert found.terms["accuracy"] == 0.75
    assert found.total.item() == pytest.approx(F.cross_entropy(logits, labels).item())
    assert not math.isnan(found.total)


# The papers' and releases' numbers of heads, losses and queues, where a recipe does not set them.
NUMBERS = {
    "barlow_twins": {"projector_width": 8192, "lambd": 0.0051, "lr_biases": 0.0048},
    "byol": {"projector_width": 256, "projector_hidden": 4096, "ema": 0.996},
    "kernel_ssl": {"projector_width": 2048, "projector_hidden": 2048, "predictor_hidden": 512, "ema": 0.996},
    "mec": {
        "projector_width": 2048, "projector_hidden": 2048, "predictor_hidden": 512, "ema": 0.996, "eps": 64.0,
        "order": 4, "lamda_warmup": 8.0, "lamda_epochs": 10.0,
    },
    "moco_v1": {"temperature": 0.07, "queue_size": 65536, "ema": 0.999, "projector_width": 128},
    "moco_v2": {"temperature": 0.2, "queue_size": 65536, "ema": 0.999, "projector_width": 128},
    "simclr": {"temperature": 0.1, "projector_layers": 2, "projector_width": 128},
    "simsiam": {"projector_width": 2048, "projector_hidden": 2048, "predictor_hidden": 512},
    "supervised": {"label_smoothing": 0.0},
    "swav": {
        "projector_width": 128, "projector_hidden": 2048, "prototypes": 3000, "frozen_iterations": 313,
        "temperature": 0.1, "epsilon": 0.05, "sinkhorn_iterations": 3, "queue_size": 0, "queue_epochs": 15.0,
    },
    "vicreg": {"projector_width": 8192, "sim_coeff": 25.0, "std_coeff": 25.0, "cov_coeff": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_options_left_out_have_the_published_numbers(name):
    options = resolve(["--data=x", f"--method={name}"]).options
    assert {key: getattr(options, key) for key in NUMBERS[name]} == NUMBERS[name]


# Of 8 and of 32 images with rows 16 wide, a queue of 16 and 6 prototypes: the loss's largest matrix, in numbers.
LARGEST = {
    "kernel_ssl": (8 * 8, 16 * 16),  # Gram or covariance matrix, whichever is smaller
    "mec": (8 * 8, 16 * 16),
    "simclr": (16 * 16, 64 * 64),  # of two views, each with each
    "moco_v1": (8 * 16, 32 * 16),  # queries and queue
    "moco_v2": (8 * 16, 32 * 16),
    "swav": ((16 + 16) * 6, (64 + 16) * 6),  # rows of both views and of the queue, and prototypes
    "barlow_twins": (16 * 16, 16 * 16),
    "vicreg": (16 * 16, 16 * 16),
    "byol": (0, 0),
    "simsiam": (0, 0),
    "supervised": (0, 0),
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_plan_counts_the_numbers_of_the_largest_matrix(name):
    method = small_method(name)
    assert (method.loss_numbers(8), method.loss_numbers(32)) == LARGEST[name]
