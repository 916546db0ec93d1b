"""Shards by fsspec: over a real HTTP server, in memory; workers, failures, servers that send whole files only."""

import fsspec
import pytest
import torch

from benchmark.core.errors import UserError
from pretrain.images.collection import SourceLost
from pretrain.images.listing import list_images
from pretrain.images.loading import FolderUnreadable, make_loader
from pretrain.images.recipe import ViewSettings
from pretrain.packing.settings import Packing
from pretrain.packing.work import pack
from pretrain.shards import storage
from pretrain.shards.find import find_images
from tests.pretrain.shards.server import serving
from tests.pretrain.shards.test_find import by_webdataset, same

pytest.importorskip("aiohttp", reason="aiohttp, by which fsspec reads http addresses, is not installed")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Ask again at once."""
    monkeypatch.setattr(storage, "WAITS", (0.0, 0.0))


@pytest.fixture
def packed(folder, tmp_path):
    """The folder packed by this project, with its index."""
    pack(str(folder), str(tmp_path / "packed"), Packing(1, None, None), 0, False)
    return tmp_path / "packed"


def batches(images, workers):
    loader = make_loader(images, ViewSettings(16), batch_size=4, seed=5, workers=workers, total_iterations=8)
    return [batch.views for batch in loader]


@pytest.mark.parametrize("workers", [0, 2])
def test_over_http_workers_see_the_folders_images(folder, tmp_path, workers):
    with serving(by_webdataset(folder, tmp_path / "s")) as server:
        images = find_images(f"{server.address}/train-{{000000..000004}}.tar")
        assert same(images, list_images(folder))
        found, wanted = batches(images, workers), batches(list_images(folder), 0)
    assert all(all(map(torch.equal, a, b)) for a, b in zip(found, wanted, strict=True))


def test_an_index_beside_the_shards_saves_reading_them(folder, packed):
    with serving(packed) as server:
        images = find_images(server.address)
        asked = [request for request in server.requests if request[0] == "GET" and request[1].endswith(".tar")]
        assert len(asked) <= 1  # the first image, as training will read it
        assert same(images, list_images(folder))
        server.requests.clear()
        images.read(5)
        begin, end = server.requests[-1][2].removeprefix("bytes=").split("-")
        assert int(end) - int(begin) + 1 == images.size(5)
        assert len(server.requests) == 1


def test_in_memory_a_folder_is_listed(folder, tmp_path):
    for path in by_webdataset(folder, tmp_path / "s").iterdir():
        fsspec.filesystem("memory").pipe(f"/bucket/{path.name}", path.read_bytes())
    assert same(find_images("memory://bucket"), list_images(folder))
    assert same(find_images("memory://bucket/train-{000000..000004}.tar"), list_images(folder))


def test_a_server_that_stumbles_is_asked_again_and_one_that_stays_down_ends_the_run(folder, packed):
    with serving(packed) as server:
        server.failing = 2
        images = find_images(server.address)
        server.failing = 2
        assert images.read(0) == list_images(folder).read(0)
        server.failing = 10**6
        with pytest.raises(SourceLost, match=r"can no longer be read .*the same command continues"):
            images.read(0)
        with pytest.raises(FolderUnreadable, match="can no longer be read"):
            batches(images, 0)


def test_a_server_that_sends_whole_files_is_found_out_before_training(folder, packed, tmp_path):
    with serving(packed, ranges=False) as server, pytest.raises(UserError, match=r"parts of files \(HTTP Range\)"):
        find_images(server.address)
    with (
        serving(by_webdataset(folder, tmp_path / "s"), ranges=False) as server,
        pytest.raises(UserError, match=r"HTTP Range|parts of files"),
    ):
        find_images(f"{server.address}/train-{{000000..000004}}.tar")


def test_what_is_not_there_is_one_sentence(packed):
    with serving(packed) as server:
        with pytest.raises(UserError, match=r"no.tar is missing"):
            find_images(f"{server.address}/no.tar")
        (packed / next(path.name for path in packed.glob("*.tar"))).unlink()
        with pytest.raises(UserError, match=r"images-000000.tar is missing"):
            find_images(server.address)
    with pytest.raises(UserError, match="cannot be read") as caught:
        find_images("http://127.0.0.1:1/images-000000.tar")  # nobody is there
    assert "\n" not in str(caught.value)
