"""What the tests of the catalogue share: a server, an empty cache, no waiting."""

import pytest

from benchmark.catalogue import download as downloading
from tests.benchmark.catalogue.server import running_server


@pytest.fixture
def server():
    with running_server() as told:
        yield told


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, told by the environment as a user tells it."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SSL_ZOO", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    """Attempts follow each other at once."""
    monkeypatch.setattr(downloading, "LONGEST_WAIT", 0.0)
