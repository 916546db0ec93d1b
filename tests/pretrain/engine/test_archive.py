"""Damaged bytes: every single flipped byte and every hole of a small archive is either found or changes nothing."""

import io
import zipfile

import pytest
import torch

from benchmark.core.errors import UserError
from pretrain.engine.archive import Damaged, check_archive, load_archive, save_archive

CONTENT = {"model": {"w": torch.arange(600.0), "n": torch.tensor(3)}, "iteration": 7, "text": "kernel_ssl"}


@pytest.fixture
def path(tmp_path):
    save_archive(tmp_path / "a.pth", CONTENT)
    return tmp_path / "a.pth"


def same(content):
    return (
        content.keys() == CONTENT.keys()
        and all(torch.equal(content["model"][name], value) for name, value in CONTENT["model"].items())
        and all(content[name] == CONTENT[name] for name in ("iteration", "text"))
    )


def test_a_whole_archive_passes(path):
    check_archive(path, ours=True)
    assert same(load_archive(path))


def refused(path):
    """Return the content of an archive, None when it is refused in one sentence."""
    try:
        return load_archive(path)
    except Damaged as error:
        return None if "\n" not in str(error) else str(error)


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_every_flipped_byte_is_found_or_changes_nothing(path, flip):
    whole, found = path.read_bytes(), 0
    for place in range(flip % 5, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
        content = refused(path)
        found += content is None
        assert content is None or same(content), f"byte {place} of {len(whole)}"
    assert found > 2500 / 5  # every one of the 2,400 bytes of the tensor, and of the pickle


def test_every_hole_is_found(path):
    whole = path.read_bytes()
    for begin in range(0, len(whole), 64):
        spoiled = whole[:begin] + bytes(min(512, len(whole) - begin)) + whole[begin + 512 :]
        path.write_bytes(spoiled)
        content = refused(path)
        assert content is None or same(content), f"a hole at {begin} of {len(whole)}"


def test_every_cut_is_found(path):
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(Damaged):
            load_archive(path)


def test_a_checksum_of_zero_in_a_file_of_others_was_not_computed(path):
    """As torch writes it after ``set_crc32_options(False)``."""
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(CONTENT, path)
    finally:
        torch.serialization.set_crc32_options(True)
    check_archive(path)
    with pytest.raises(Damaged):
        load_archive(path)


def test_no_archive_and_a_compressed_one_are_refused_in_one_sentence(tmp_path):
    (tmp_path / "text").write_text("PK is how it begins")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    (tmp_path / "packed").write_bytes(packed.getvalue())
    for name in ("text", "packed", "absent"):
        with pytest.raises(UserError, match=name):
            check_archive(tmp_path / name)
