"""A folder of 22 small photographs in three class folders."""

import pytest

from tests.pretrain.images.pictures import jpeg


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    for i in range(22):
        path = root / "abc"[i % 3] / f"{i:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(i))
    return root
