"""Reading an image file: its content, and what is none or too large."""

import os

import pytest

from pretrain.images import reading
from pretrain.images.reading import read_image


def test_a_file_beyond_256_mb_is_refused_unread(tmp_path):
    path = tmp_path / "huge.jpg"
    with open(path, "wb") as file:
        file.truncate(256 * 1024 * 1024 + 1)  # holds no bytes on the disk
    with pytest.raises(OSError, match="no regular file of at most 268435456 bytes"):
        read_image(str(path))


def test_the_limit_itself_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 10)
    path = tmp_path / "small.jpg"
    path.write_bytes(b"0123456789")
    assert read_image(str(path)) == b"0123456789"
    path.write_bytes(b"0123456789a")
    with pytest.raises(OSError, match="at most 10 bytes"):
        read_image(str(path))


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path, tmp_path / "pipe.jpg"):
        with pytest.raises(OSError, match="no regular file"):
            read_image(str(path))
    with pytest.raises(FileNotFoundError):
        read_image(str(tmp_path / "absent.jpg"))


def test_no_handle_stays_open(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for _ in range(20):
        read_image(str(tmp_path / "a.jpg"))
        with pytest.raises(OSError, match="no regular file"):
            read_image(str(tmp_path))
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before
