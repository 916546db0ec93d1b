"""Braces: what they stand for is what shells and webdataset say."""

import pytest
from braceexpand import braceexpand

from benchmark.core.errors import UserError
from pretrain.shards.patterns import expand


@pytest.mark.parametrize(
    "pattern",
    [
        "train-{000000..000012}.tar", "t-{8..11}.tar", "t-{08..11}.tar", "t-{0..3}.tar", "{a,b}/t-{0..1}.tar", "t.tar",
        "s3://b/x-{099..101}.tar", "t-{a,,b}.tar", "t-{5..5}.tar",
    ],
)  # fmt: skip
def test_names_are_those_of_webdatasets_own_expansion(pattern):
    assert expand(pattern) == list(braceexpand(pattern))


@pytest.mark.parametrize(
    "pattern",
    ["t-{0..1.tar", "t-0..1}.tar", "t-{}.tar", "t-{x}.tar", "t-{3..1}.tar", "{{0..1}}.tar", "t-{0..99999999999}.tar",
     "t-{0..9999}{0..9999}.tar", "t-{0..%s}.tar" % ("9" * 5000)],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(pattern):
    with pytest.raises(UserError) as caught:
        expand(pattern)
    assert "\n" not in str(caught.value)
