"""Options of the loss: each changes value and gradient, and combinations in which one would do nothing are refused."""

import dataclasses
import re

import pytest

from benchmark.core.errors import UserError
from benchmark.core.options import flag_of
from pretrain.losses import LossOptions, kernel_ssl_loss
from tests.pretrain.losses.kernel_ssl.reference import features, gradients

CHANGES = {
    "mu": [{"mu": 0.5}],
    "lam": [{"lam": 0.5}],
    "gamma": [{"gamma": 0.0}, {"gamma": 0.1}],
    "taylor_order": [{"taylor_order": order} for order in (1, 2, 3, 5, 8)],
    "logarithm": [{"logarithm": "exact"}],
    "uniformity": [{"uniformity": "none"}],
    "alignment": [{"alignment": "hsic"}, {"alignment": "trace"}, {"alignment": "none"}],
    "trace_term": [{"trace_term": True}],
    "hsic_weight": [{"hsic_weight": 0.003}, {"hsic_weight": 0.1}],
    "kernel": [{"kernel": "rbf"}, {"kernel": "laplace"}, {"kernel": "polynomial"}],
    "bandwidth": [{"kernel": "rbf", "bandwidth": 0.3}, {"kernel": "rbf", "bandwidth": 3.0}],
    "degree": [{"kernel": "polynomial", "degree": 1}, {"kernel": "polynomial", "degree": 3}],
}


def test_every_option_is_listed():
    assert set(CHANGES) == {field.name for field in dataclasses.fields(LossOptions)}


@pytest.mark.parametrize("name", CHANGES)
def test_every_value_of_every_option_changes_value_and_gradient(name):
    matrices = features(12, 4, "narrow")
    companions = {key: value for key, value in CHANGES[name][0].items() if key != name}
    results = []
    for options in [companions, *CHANGES[name]]:
        loss = kernel_ssl_loss(*matrices, **options)
        results.append((loss.item(), gradients(loss, matrices)[0]))
    for i, (loss, gradient) in enumerate(results):
        for other_loss, other_gradient in results[:i]:
            assert abs(loss - other_loss) > 1e-4
            assert (gradient - other_gradient).norm() > 1e-4 * gradient.norm()


REFUSED = [
    ({"uniformity": "none", "alignment": "none"}, "--uniformity none with --alignment none leaves no loss"),
    ({"uniformity": "none", "gamma": 0}, "--uniformity none with --gamma 0 leaves no loss"),
    ({"uniformity": "none", "lam": 0.5}, "--lam has no effect with --uniformity none"),
    ({"alignment": "none", "gamma": 0.5}, "--gamma has no effect with --alignment none"),
    ({"lam": 0}, "--lam 0 switches uniformity off; say --uniformity none"),
    ({"lam": 0, "trace_term": True}, "--lam 0 switches uniformity off; say --uniformity none"),
    ({"taylor_order": 0}, "--taylor-order is 0; it must be a whole number between 1 and 100"),
    ({"taylor_order": 6, "logarithm": "exact"}, "--taylor-order has no effect with --logarithm exact"),
    ({"mu": 0, "logarithm": "exact"}, "--logarithm exact with --mu 0 takes the logarithm of zero"),
    *[
        ({"uniformity": "none", "alignment": "hsic", **options}, f"--{flag} needs a term with a logarithm")
        for flag, options in {
            "logarithm": {"logarithm": "exact"},
            "mu": {"mu": 0.5},
            "taylor-order": {"taylor_order": 2},
        }.items()
    ],
    ({"uniformity": "none", "alignment": "trace", "trace_term": True}, "--trace-term belongs to matrix cross-entropy"),
    ({"bandwidth": 1.0}, "--bandwidth has no effect with --kernel linear; it belongs to rbf and laplace"),
    ({"bandwidth": 1.0, "kernel": "polynomial"}, "--bandwidth has no effect with --kernel polynomial"),
    ({"bandwidth": 0.0, "kernel": "rbf"}, "--bandwidth is 0; it must be a number above 0"),
    ({"bandwidth": float("nan"), "kernel": "rbf"}, "--bandwidth is nan; it must be a number above 0"),
    ({"degree": 3, "kernel": "rbf"}, "--degree has no effect with --kernel rbf; it belongs to polynomial"),
    ({"degree": 0, "kernel": "polynomial"}, "--degree is 0; it must be a whole number between 1 and 100"),
    *[
        ({name: value}, f"--{name.replace('_', '-')} is {value:g}; it must be a number of 0 or more")
        for name in ("mu", "lam", "gamma", "hsic_weight")
        for value in (-0.1, float("nan"), float("inf"))
    ],
    ({"alignment": "mse"}, "--alignment has no value 'mse'; did you mean 'mce'? It is one of: mce, hsic, trace, none."),
    ({"uniformity": "hsic"}, "--uniformity has no value 'hsic'. It is one of: mce, none."),
    ({"logarithm": "exakt"}, "--logarithm has no value 'exakt'; did you mean 'exact'?"),
    ({"kernel": "laplacian"}, "--kernel has no value 'laplacian'; did you mean 'laplace'?"),
]


@pytest.mark.parametrize(("options", "sentence"), REFUSED, ids=lambda x: str(x)[:60])
def test_what_makes_no_sense_is_refused_with_a_sentence(options, sentence):
    """A caller reads the names of the fields; a command line makes flags of them."""
    with pytest.raises(ValueError, match=r"\.$") as caught:
        kernel_ssl_loss(*features(4, 3), **options)
    assert re.sub("--([a-z-]+)", lambda flag: flag[1].replace("-", "_"), sentence) in str(caught.value)
    assert "--" not in str(caught.value)
    assert isinstance(caught.value, UserError)
    assert sentence in caught.value.sentence(flag_of)


@pytest.mark.parametrize(
    "options",
    [
        {"alignment": "none", "gamma": 0},
        {"hsic_weight": 0.003, "alignment": "none"},
        {"gamma": 0},
        {"mu": 0},
        {"uniformity": "none", "alignment": "hsic"},
    ],
    ids=str,
)
def test_unusual_but_sensible_combinations_are_accepted(options):
    LossOptions(**options)
