"""Shards as people make them, and a place of its own for the indices that reading them leaves."""

import io
import tarfile

import pytest

from tests.pretrain.images.pictures import jpeg


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of indices, also of child processes."""
    monkeypatch.setenv("SSL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """22 small photographs in three class folders."""
    root = tmp_path / "images"
    for i in range(22):
        path = root / "abc"[i % 3] / f"{i:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(i))
    return root


def write_tar(path, members, mode="w", **settings):
    """Write an archive of (name or TarInfo, content) pairs with Python's tarfile; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, **settings) as tar:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path
