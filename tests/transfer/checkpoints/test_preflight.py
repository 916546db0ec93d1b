"""What reading a pickle would cost, and where it is too much: the limits by their exact values."""

import io
import pickle
import struct

import numpy as np
import pytest

from transfer.checkpoints.preflight import TooMuch, weigh

BEGIN, END = b"\x80\x02", b"."


def weighed(pickled, size=0):
    """Weigh a whole pickle that is said to be of this many bytes."""
    weigh(io.BytesIO(BEGIN + pickled + END), size)


def refused(pickled, why, size=0):
    with pytest.raises(TooMuch, match=why):
        weighed(pickled, size)


def tuple_of(weight):
    """Return opcodes of a tuple of this weight: () weighs 1, and a tuple 1 more than what it holds."""
    doubled, weights = b")q\x00", [1]
    while 2 * weights[-1] + 1 < weight:
        last = len(weights) - 1
        doubled += b"h" + bytes([last]) + b"h" + bytes([last]) + b"\x86q" + bytes([last + 1])  # (it, it), kept
        weights.append(2 * weights[-1] + 1)
    left, parts = weight - 1, b""
    for index in reversed(range(len(weights))):
        while weights[index] <= left:
            parts += b"h" + bytes([index])
            left -= weights[index]
    return doubled + b"0" * len(weights) + b"(" + parts + b"t"


def test_a_tuple_weighs_at_most_four_million():
    weighed(tuple_of(4_000_000))
    refused(tuple_of(4_000_001), "tuples in tuples")


def test_objects_are_numbered_up_to_a_million():
    weighed(b"}r" + struct.pack("<I", 1_000_000))
    refused(b"}r" + struct.pack("<I", 1_000_001), "numbers its objects up to 1,000,001")


@pytest.mark.parametrize("number", [7, 2**31 - 1, -1])
def test_a_tuple_of_many_numbers_is_no_bomb(number):
    """A hundred thousand numbers are a megabyte in memory, whatever their values."""
    weighed(b"(" + (b"J" + struct.pack("<i", number)) * 100_000 + b"t")


def _dictionary(keys, values):
    """Return opcodes of a dictionary of six items; what the memo has at these places is each item's key and value."""
    items = b"".join(b"h" + bytes([key]) + b"h" + bytes([value]) for key, value in zip(keys, values, strict=True))
    return b"}(" + items + b"u"


LIGHT, HEAVY = 0x40, 0x41
TWO = b"K\x01q\x40" + b"0" + tuple_of(2_000_000) + b"q\x410"  # in the memo: a number, and a tuple of two millions


def test_keys_are_hashed_and_values_are_not():
    weighed(TWO + _dictionary([LIGHT] * 6, [HEAVY] * 6))
    weighed(TWO + _dictionary([HEAVY] * 3 + [LIGHT] * 3, [LIGHT] * 6))  # 6 millions of 8
    refused(TWO + _dictionary([HEAVY] * 6, [LIGHT] * 6), "copies what it holds too often")
    one_by_one = b"}" + (b"h\x41h\x40s") * 6
    refused(TWO + one_by_one, "copies what it holds too often")


def test_a_larger_file_may_copy_more():
    """Twice its size more, in units of 32 bytes: 6 keys of two millions are 4 millions too many, 64 MB."""
    dictionary = TWO + _dictionary([HEAVY] * 6, [LIGHT] * 6)
    refused(dictionary, "copies", size=60_000_000)
    weighed(dictionary, size=68_000_000)


@pytest.mark.parametrize("text", [b"a", "a"])
def test_one_text_copied_often_is_weighed_by_its_length(text):
    """A call may copy what it is given: 64 MB of copies in a file of a megabyte pass, 512 MB do not."""
    kind = b"X" if isinstance(text, str) else b"B"
    begin = kind + struct.pack("<I", 2**20) + b"a" * 2**20 + b"q\x000c_codecs\nencode\nq\x010"
    call = b"h\x01h\x00\x85R0"
    weighed(begin + call * 64 + b"N", size=2**20)
    refused(begin + call * 512 + b"N", "copies", size=2**20)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_checkpoints_hold_passes(protocol):
    content = {
        "model": {f"layer{i}.weight": np.ones((64, 64), dtype="f4") for i in range(300)},
        "optimizer": {"param_groups": [{"lr": 0.1, "params": list(range(5_000)), "betas": (0.9, 0.999)}]},
        "history": [(epoch, 1.5, None, True) for epoch in range(10_000)],
    }
    pickled = pickle.dumps(content, protocol=protocol)
    weigh(io.BytesIO(pickled), len(pickled))


def test_each_of_several_pickles_is_walked_from_where_the_last_ended():
    file = io.BytesIO(pickle.dumps({"a": 1}) + pickle.dumps([2]) + b"rest")
    weigh(file, 100)
    weigh(file, 100)
    assert file.read() == b"rest"


def test_a_damaged_pickle_is_a_mistake_of_its_own():
    with pytest.raises(ValueError, match=r"pickle|opcode"):
        weigh(io.BytesIO(b"\x80\x02}"), 3)
