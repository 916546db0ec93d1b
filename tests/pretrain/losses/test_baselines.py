"""The baselines' losses: official values, an independent restatement, numerical gradients, who gets a gradient."""

import inspect

import numpy as np
import pytest
import torch

import pretrain.losses
from pretrain.losses import mec_coding_length, mec_lamda_inv, moco_enqueue, swav_codes, swav_enqueue
from tests.pretrain.losses import plain
from tests.pretrain.losses.vectors import read, tensor

CASES = read("baselines")
METHODS = sorted({case["method"] for case in CASES})
# Sizes and states that the vectors name beside the hyper-parameters; they are no arguments of a loss.
NOT_ARGUMENTS = {"queue_size", "queue_ptr", "queue_length", "prototypes"}


def loss_of(method):
    return getattr(pretrain.losses, f"{method}_loss")


def by_method(method):
    return [case for case in CASES if case["method"] == method]


def arguments(case):
    """Return a case's tensors, those with a gradient ready for it, and its hyper-parameters."""
    tensors = {
        name: torch.tensor(value) if name == "labels" else tensor(value) for name, value in case["inputs"].items()
    }
    for name in case["grads"]:
        tensors[name].requires_grad_()
    return tensors, {name: value for name, value in case["hyper"].items() if name not in NOT_ARGUMENTS}


def test_every_method_has_vectors_and_a_loss():
    assert len(CASES) == 54
    assert {f"{method}_loss" for method in METHODS} | {"kernel_ssl_loss"} == {
        name for name in pretrain.losses.__all__ if name.endswith("_loss")
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_equals_the_official_value_and_gradient(case):
    tensors, hyper = arguments(case)
    loss = loss_of(case["method"])(**tensors, **hyper)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(case["loss"], rel=0, abs=1e-10)
    loss.backward()
    for name, value in tensors.items():
        if name in case["grads"]:
            torch.testing.assert_close(value.grad, tensor(case["grads"][name]), rtol=0, atol=1e-10)
        else:
            assert value.grad is None


@pytest.mark.parametrize("case", by_method("moco_v1") + by_method("moco_v2"), ids=lambda case: case["case"])
def test_the_queue_afterwards_is_the_official_one(case):
    (tensors, _), hyper = arguments(case), case["hyper"]
    before = tensors["queue"].clone()
    after, pointer = moco_enqueue(tensors["queue"], tensors["key"], hyper["queue_ptr"])
    assert pointer == case["outputs"]["queue_ptr_after"]
    assert torch.equal(tensors["queue"], before)  # a function of its arguments
    if expected := case["outputs"].get("queue_after"):
        torch.testing.assert_close(after, tensor(expected), rtol=0, atol=1e-10)
    columns = range(hyper["queue_ptr"], hyper["queue_ptr"] + len(tensors["key"]))
    kept = [column for column in range(hyper["queue_size"]) if column not in columns]
    assert torch.equal(after[:, kept], before[:, kept])


@pytest.mark.parametrize("case", by_method("swav"), ids=lambda case: case["case"])
def test_the_codes_are_the_official_ones(case):
    tensors, hyper = arguments(case)
    for view in ("1", "2"):
        codes = swav_codes(
            tensors[f"view_{view}"], tensors["prototypes"], tensors.get(f"queue_{view}"),
            epsilon=hyper["epsilon"], sinkhorn_iterations=hyper["sinkhorn_iterations"],
        )  # fmt: skip
        torch.testing.assert_close(codes, tensor(case["outputs"][f"codes_{view}"]), rtol=0, atol=1e-10)
        torch.testing.assert_close(codes.sum(1), torch.ones(len(codes)).double())
    if "queue_1" in tensors:
        queue = swav_enqueue(tensors["queue_1"], tensors["view_1"])
        first = tensor(case["outputs"]["queue_1_after_first_row"])
        torch.testing.assert_close(queue[0], first, rtol=0, atol=1e-10)
        size = len(tensors["view_1"])
        assert torch.equal(queue[size:], tensors["queue_1"][:-size])


@pytest.mark.parametrize("case", by_method("mec"), ids=lambda case: case["case"])
def test_mec_coding_length_is_the_official_one(case):
    tensors, hyper = arguments(case)
    loss, size = loss_of("mec")(**tensors, **hyper).item(), (case["m"], case["d"])
    hyper.pop("order")
    assert mec_lamda_inv(*size, **hyper) == pytest.approx(case["outputs"]["lamda_inv"], rel=1e-12)
    length = mec_coding_length(loss, *size, **hyper)
    assert length == pytest.approx(case["outputs"]["coding_length_per_sample"], rel=0, abs=1e-10)


def numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def four(m, d):
    return [numbers(seed, m, d) for seed in range(4)]


def unit_columns(d, size):
    queue = numbers(9, d, size)
    return queue / np.linalg.norm(queue, axis=0)


# Loss, how many of its arguments get a gradient, arguments, hyper-parameters; the values are nobody's defaults.
RESTATED = [
    ("simclr", 2, four(7, 3)[:2], {"temperature": 0.37}),
    ("simclr", 2, four(1, 5)[:2], {"temperature": 0.05}),
    ("moco_v1", 1, [*four(5, 4)[:2], unit_columns(4, 13)], {"temperature": 0.3}),
    ("moco_v2", 1, [*four(5, 4)[:2], unit_columns(4, 3)], {"temperature": 0.9}),
    ("byol", 2, four(6, 3), {}),
    ("swav", 3, [*four(6, 4)[:2], numbers(7, 5, 4)], {"temperature": 0.3, "epsilon": 0.2, "sinkhorn_iterations": 1}),
    ("swav", 3, [*four(4, 6)[:2], numbers(7, 3, 6)], {"temperature": 0.2, "epsilon": 0.1, "sinkhorn_iterations": 0}),
    (
        "swav", 3, [*four(6, 4)[:2], numbers(7, 9, 4), unit_columns(4, 7).T.copy(), None],
        {"temperature": 0.15, "epsilon": 0.07, "sinkhorn_iterations": 5},
    ),
    ("simsiam", 2, four(7, 3), {}),
    ("barlow_twins", 2, four(5, 8)[:2], {"lambd": 0.3}),
    ("barlow_twins", 2, four(9, 3)[:2], {"lambd": 2.5}),
    ("vicreg", 2, four(5, 8)[:2], {"sim_coeff": 3.0, "std_coeff": 7.0, "cov_coeff": 0.2}),
    ("vicreg", 2, [0.3 * x for x in four(9, 3)[:2]], {"sim_coeff": 0.0, "std_coeff": 7.0, "cov_coeff": 40.0}),
    *[("mec", 2, four(*size), {"eps": 3.0, "order": order, "warmup": 2.5})
      for size in ((4, 9), (9, 4)) for order in (1, 2, 3, 4, 5, 7)],
    ("supervised", 1, [numbers(0, 6, 4), np.array([0, 3, 1, 1, 2, 0])], {"label_smoothing": 0.3}),
]  # fmt: skip


def as_tensors(count, given):
    tensors = [None if x is None else torch.tensor(x) for x in given]
    return [x.requires_grad_() if i < count else x for i, x in enumerate(tensors)]


@pytest.mark.parametrize(("method", "count", "given", "hyper"), RESTATED, ids=lambda x: x if isinstance(x, str) else "")
def test_equals_the_plain_restatement_and_numerical_gradients(method, count, given, hyper):
    tensors, loss = as_tensors(count, given), loss_of(method)
    restated = getattr(plain, "moco" if method.startswith("moco") else method)
    padded = [*given, None, None] if method == "swav" and len(given) == 3 else given
    assert loss(*tensors, **hyper).item() == pytest.approx(restated(*padded, **hyper), rel=1e-10)
    if method == "swav":
        # Its codes are constants and its prototypes' gradient is not projected: neither is what differences see.
        return
    assert torch.autograd.gradcheck(lambda *online: loss(*online, *tensors[count:], **hyper), tensors[:count])


def test_swav_gradient_is_that_of_fixed_codes_by_normalised_prototypes():
    view_1, view_2, prototypes = as_tensors(3, [*four(6, 4)[:2], numbers(7, 5, 4)])
    loss_of("swav")(view_1, view_2, prototypes, temperature=0.3, epsilon=0.2).backward()
    codes = [swav_codes(view, prototypes, epsilon=0.2) for view in (view_1, view_2)]
    weight = torch.nn.functional.normalize(prototypes.detach(), dim=1)

    def fixed(view_1, view_2, weight):
        logits = [torch.nn.functional.normalize(view, dim=1) @ weight.T / 0.3 for view in (view_1, view_2)]
        return (
            -sum((code * row.log_softmax(1)).sum(1).mean() for code, row in zip(codes, logits[::-1], strict=True)) / 2
        )

    copies = [x.detach().clone().requires_grad_() for x in (view_1, view_2, weight)]
    for found, expected in zip((view_1, view_2, prototypes), torch.autograd.grad(fixed(*copies), copies), strict=True):
        torch.testing.assert_close(found.grad, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_constants_get_no_gradient_even_if_they_ask_for_it(method):
    case = by_method(method)[0]
    tensors, hyper = arguments(case)
    for value in tensors.values():
        if value.is_floating_point():
            value.requires_grad_()
    loss_of(method)(**tensors, **hyper).backward()
    assert {name for name, value in tensors.items() if value.grad is not None} == set(case["grads"])


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_images_does_not_matter(method):
    case = by_method(method)[0]
    tensors, hyper = arguments(case)
    order = torch.randperm(case["m"], generator=torch.Generator().manual_seed(0))
    moved = {name: value if name in ("queue", "prototypes") else value[order] for name, value in tensors.items()}
    assert loss_of(method)(**moved, **hyper).item() == pytest.approx(case["loss"], rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_without_a_graph_the_value_is_the_same(method):
    case = by_method(method)[0]
    tensors, hyper = arguments(case)
    with torch.no_grad():
        loss = loss_of(method)(**tensors, **hyper)
    assert not loss.requires_grad
    assert loss.item() == pytest.approx(case["loss"], rel=0, abs=1e-10)


def test_the_defaults_are_the_released_ones():
    released = {
        "simclr": {"temperature": 0.1}, "moco_v1": {"temperature": 0.07}, "moco_v2": {"temperature": 0.2},
        "swav": {"temperature": 0.1, "epsilon": 0.05, "sinkhorn_iterations": 3}, "byol": {}, "simsiam": {},
        "barlow_twins": {"lambd": 0.0051, "processes": 1}, "supervised": {"label_smoothing": 0.0},
        "vicreg": {"sim_coeff": 25.0, "std_coeff": 25.0, "cov_coeff": 1.0},
        "mec": {"eps": 64.0, "order": 4, "warmup": 1.0},
    }  # fmt: skip
    for method in METHODS:
        parameters = inspect.signature(loss_of(method)).parameters.values()
        assert {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} == released[method]


def test_barlow_twins_can_follow_the_released_gradient():
    """Its value does not change, its gradient is divided by the number of processes."""
    views = as_tensors(2, four(8, 5)[:2])
    true, released = (loss_of("barlow_twins")(*views, lambd=0.1, processes=count) for count in (1, 4))
    assert released.item() == pytest.approx(true.item(), rel=1e-14)
    for a, b in zip(torch.autograd.grad(true, views), torch.autograd.grad(released, views), strict=True):
        torch.testing.assert_close(b, a / 4, rtol=1e-12, atol=0)


def test_rows_shorter_than_1e_6_follow_each_official_code():
    """TensorFlow and JAX hold the square of a length at 1e-12, so that such rows stay short; torch does not."""
    short, target = tensor([[1e-7] * 4]), tensor([[1.0, 0.0, 0.0, 0.0]])
    assert loss_of("byol")(short, short, target, target).item() == pytest.approx(2 * (0.9**2 + 3 * 0.1**2), rel=1e-12)
    assert loss_of("simsiam")(short, short, target, target).item() == pytest.approx(-0.5, rel=1e-12)


def test_the_moco_queue_wraps_around():
    queue, key = torch.zeros(2, 5).double(), torch.tensor([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]).double()
    after, pointer = moco_enqueue(queue, key, 3)
    assert pointer == 1
    assert after.T.tolist() == [[-1, 0], [0, 0], [0, 0], [1, 0], [0, 1]]


def test_sinkhorn_of_a_tiny_epsilon_neither_overflows_nor_divides_by_zero():
    view, prototypes = (torch.tensor(numbers(seed, 8, 4), dtype=torch.float32) for seed in (0, 1))
    codes = swav_codes(view, prototypes, epsilon=1e-3)
    assert torch.isfinite(codes).all()
    torch.testing.assert_close(codes.sum(1), torch.ones(8))
    exact = swav_codes(view.double(), prototypes.double(), epsilon=1e-3)
    torch.testing.assert_close(codes.double(), exact, rtol=0, atol=2e-3)


A, B = torch.ones(4, 3), torch.ones(4, 2)
REFUSED = [
    ("simclr", (A, B), {}, "view_1, view_2 must share one shape"),
    ("simclr", (A[0], A[0]), {}, "view_1, view_2 must share one shape"),
    ("simclr", (A, A), {"temperature": 0.0}, "temperature is 0.0; it must be a finite number above 0"),
    ("simclr", (A, A), {"temperature": float("nan")}, "temperature is nan"),
    ("moco_v1", (A, A, torch.ones(2, 8)), {}, r"queue must be \(d, K\)"),
    ("moco_v2", (A, B, torch.ones(3, 8)), {}, "query, key must share one shape"),
    ("moco_v2", (A, A, torch.ones(3, 8)), {"temperature": -1.0}, "temperature is -1.0"),
    ("byol", (A, A, A, B), {}, "target_projection_2 must share one shape"),
    ("swav", (A, B, A), {}, "view_1, view_2 must share one shape"),
    ("swav", (A, A, B), {}, "prototypes must be"),
    ("swav", (A, A, A, B), {}, r"queue must be \(rows, 3\)"),
    ("swav", (A, A, A), {"epsilon": 0.0}, "epsilon is 0.0"),
    ("swav", (A, A, A), {"temperature": 0.0}, "temperature is 0.0"),
    ("swav", (A, A, A), {"sinkhorn_iterations": -1}, "sinkhorn_iterations is -1; it must be 0 or more"),
    ("simsiam", (A, A, A, B), {}, "p_1, p_2, z_1, z_2 must share one shape"),
    ("barlow_twins", (A[:1], A[:1]), {}, r"have 1 row\(s\); this loss needs at least 2"),
    ("barlow_twins", (A, A), {"lambd": -0.1}, "lambd is -0.1; it must be a finite number of 0 or more"),
    ("barlow_twins", (A, A), {"processes": 0}, "processes is 0"),
    ("vicreg", (A[:1], A[:1]), {}, "needs at least 2"),
    ("vicreg", (A, A), {"cov_coeff": float("inf")}, "cov_coeff is inf"),
    ("mec", (A, A, A, A), {"order": 0}, "order is 0; the series begins at order 1"),
    ("mec", (A, A, A, A), {"eps": 0}, "eps is 0"),
    ("mec", (A, A, A, A), {"warmup": -1}, "warmup is -1"),
    ("supervised", (A, torch.zeros(3, dtype=torch.long)), {}, "labels"),
    ("supervised", (A, torch.zeros(4, dtype=torch.long)), {"label_smoothing": 1.5}, "label_smoothing is 1.5"),
]


@pytest.mark.parametrize(("method", "given", "hyper", "sentence"), REFUSED)
def test_wrong_arguments_are_refused_in_a_sentence(method, given, hyper, sentence):
    with pytest.raises(ValueError, match=sentence):
        loss_of(method)(*given, **hyper)


def test_wrong_queues_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="key has 4 rows, more than the 3 columns"):
        moco_enqueue(torch.ones(3, 3), A, 0)
    with pytest.raises(ValueError, match="queue_ptr is 8; it must lie between 0 and 7"):
        moco_enqueue(torch.ones(3, 8), A, 8)
    with pytest.raises(ValueError, match=r"view \(m, d\) with m <= L"):
        swav_enqueue(torch.ones(3, 3), A)
