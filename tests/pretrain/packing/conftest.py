"""The folder and the cache that the tests of shards use."""

from tests.pretrain.shards.conftest import cache, folder  # noqa: F401
