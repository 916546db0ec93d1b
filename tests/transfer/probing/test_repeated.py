"""Images that are there twice: two labels are refused, test images among the training images are counted."""

import shutil

import pytest

from benchmark.core.errors import UserError
from tests.transfer.probing.image_folders import coloured
from transfer.probing.repeated import check_repeated
from transfer.probing.splits import find_splits


@pytest.fixture
def folder(tmp_path):
    return coloured(tmp_path)


def splits(folder):
    train, test, _ = find_splits(folder)
    return train, test


def test_a_folder_without_repeats_passes(folder):
    assert check_repeated(*splits(folder)) == 0


@pytest.mark.parametrize("split", ["train", "val"])
def test_one_image_under_two_labels_is_refused_by_both_names(folder, split):
    shutil.copy(folder / "train" / "red" / "0.jpg", folder / split / "green" / "same.jpg")
    with pytest.raises(UserError, match=r"one image under two labels; remove the wrong one\.$") as refused:
        check_repeated(*splits(folder))
    assert "red/0.jpg" in str(refused.value)
    assert "green/same.jpg" in str(refused.value)


def test_test_images_among_the_training_images_are_counted_and_repeats_within_a_split_are_not(folder):
    shutil.copy(folder / "train" / "red" / "0.jpg", folder / "val" / "red" / "a.jpg")
    shutil.copy(folder / "train" / "red" / "1.png", folder / "val" / "red" / "b.png")
    shutil.copy(folder / "train" / "red" / "0.jpg", folder / "train" / "red" / "c.jpg")
    assert check_repeated(*splits(folder)) == 2


def test_files_of_equal_size_and_other_content_are_no_repeats(folder):
    content = bytearray((folder / "train" / "red" / "0.jpg").read_bytes())
    content[-3] ^= 1
    (folder / "val" / "green" / "other.jpg").write_bytes(content)
    assert check_repeated(*splits(folder)) == 0
