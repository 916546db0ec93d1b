"""What is found in a file's content: every tensor by its path, within limits, and the plain facts that it states."""

import numpy as np
import pytest
import torch

from transfer.checkpoints.contents import TooManyTensors, flatten
from transfer.checkpoints.evidence import lookup, whole
from transfer.checkpoints.resnet import shorten

ONE = torch.ones(1)


def names(content):
    return [".".join(path) for path, _ in flatten(content)]


def test_tensors_are_found_in_their_order_with_their_paths():
    content = {"b": ONE, "a": {"y": ONE, "x": {"z": np.ones(2)}}, "text": "t", "number": 3, "list": [ONE]}
    assert names(content) == ["b", "a.y", "a.x.z"]
    assert flatten(ONE)[0][0] == ()
    assert names({"net": torch.nn.Linear(2, 3)}) == ["net.weight", "net.bias"]
    assert names({1: ONE, ("a",): ONE, None: ONE, "kept": ONE}) == ["kept"]


@pytest.mark.parametrize("key", ["optimizer", "optim_g", "lr_scheduler", "scaler", "rng", "rng_state", "callbacks"])
def test_states_of_training_are_passed_over_on_top_and_kept_below(key):
    assert names({key: {"conv1.weight": ONE}, "model": {key: ONE}}) == [f"model.{key}"]


def test_twelve_levels_are_read_and_the_thirteenth_is_not():
    def nested(levels):
        content = ONE
        for _ in range(levels):
            content = {"k": content}
        return content

    assert len(flatten(nested(12))) == 1
    assert flatten(nested(13)) == []


def test_names_of_three_hundred_characters_are_the_longest():
    assert len(flatten({"a" * 300: ONE, "b" * 301: ONE})) == 1
    assert len(flatten({"a" * 100: {"b" * 200: ONE, "c" * 201: ONE}})) == 1


def test_ten_thousand_tensors_are_the_most():
    many = {f"t{number}": ONE for number in range(10_000)}
    assert len(flatten(many)) == 10_000
    with pytest.raises(TooManyTensors, match="more than 10,000 tensors"):
        flatten(many | {"one more": ONE})


def test_a_dictionary_that_is_there_twice_is_read_once():
    inner = {"w": ONE}
    inner["itself"] = inner
    assert names({"a": inner, "b": inner}) == ["a.w"]


@pytest.mark.parametrize(
    ("array", "kept"),
    [
        (np.array([1.5, -2.0], dtype=">f4"), True),
        (np.array([1, 2], dtype=">i8"), True),
        (np.array([1, 2], dtype="u1"), True),
        (np.array([1j]), True),
        (np.array([True]), False),
        (np.array(["text"]), False),
        (np.array([None]), False),
    ],
)
def test_arrays_of_numbers_are_tensors_in_either_byte_order(array, kept):
    found = flatten({"a": array})
    assert len(found) == kept
    if kept:
        assert found[0][1].tolist() == array.tolist()


@pytest.mark.parametrize(
    ("said", "count"),
    [
        (3, 3), (0, 0), (3.0, 3), ("12", 12), (np.int64(7), 7), (torch.tensor(5), 5),
        (-1, None), (3.5, None), (True, None), (False, None), (None, None), ("x", None), ("3.5", None), ([1], None),
        (float("inf"), None), (float("nan"), None),
    ],
)  # fmt: skip
def test_a_count_is_a_whole_number_of_zero_or_more(said, count):
    assert whole(said) == count
    assert type(whole(said)) is type(count)


def test_facts_are_looked_up_by_keys_and_attributes():
    class Options:
        epochs = 3

        def __getattr__(self, name):
            raise RuntimeError("a stranger's class")

    content = {"args": Options(), "deep": {"er": {"est": 1}}}
    assert (lookup(content, "args.epochs"), lookup(content, "deep.er.est")) == (3, 1)
    assert [lookup(content, path) for path in ("args.lr", "deep.x", "deep.er.est.more", "none")] == [None] * 4


def test_long_names_are_cut_after_120_characters():
    assert shorten(["a" * 120]) == "a" * 120
    assert shorten(["a" * 121]) == "a" * 120 + "..."
