"""Names of millions of images: as they were given, in blocks that files written earlier have too."""

import hashlib

import pytest

from pretrain.images.names import Names, digest_of


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 128, 129, 200])
def test_every_name_comes_back_in_its_place(count):
    given = [f"class/{number:03}.jpg" for number in range(count)]
    names = Names(given)
    assert len(names) == count
    assert list(names) == given
    assert [names[index] for index in reversed(range(count))] == given[::-1]
    for wrong in (-1, count):
        with pytest.raises(IndexError):
            names[wrong]


def test_sixty_four_names_make_a_block_so_that_files_of_earlier_versions_are_read():
    for count, blocks in ((1, 1), (64, 1), (65, 2), (128, 2), (129, 3)):
        names = Names(f"{number}" for number in range(count))
        text, ends = names.parts()
        assert len(ends) == blocks
        assert ends[-1] == len(text)
        again = Names.stored(text, ends, count, names.digest)
        assert list(again) == list(names)


def test_the_digest_is_that_of_all_names_each_with_a_null_byte():
    given = [f"{number}" for number in range(150)]
    expected = hashlib.sha256("".join(name + "\0" for name in given).encode()).hexdigest()
    assert Names(given).digest == digest_of(given) == expected
    assert Names(()).digest == hashlib.sha256(b"").hexdigest()


def test_the_longest_names_of_a_file_system_fit_and_names_that_are_no_text():
    given = [chr(ord("a") + number % 26) * 4096 for number in range(64)] + ["caf\udce9.jpg"]
    assert list(Names(given)) == given


def test_many_names_take_few_bytes():
    names = Names(f"n{number // 1000:08}/n{number // 1000:08}_{number}.JPEG" for number in range(10_000))
    text, ends = names.parts()
    assert (len(text) + ends.nbytes) / 10_000 < 8
