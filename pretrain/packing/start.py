"""From the options of ``pretrain/pack.py`` to shards, to their plan or to their verification."""

from pretrain.packing.config import PackConfig
from pretrain.packing.plan import print_plan
from pretrain.packing.settings import Packing
from pretrain.packing.verify import verify
from pretrain.packing.work import pack


def start(config: PackConfig) -> int:
    """Pack, plan or verify; return 0. Other endings: ``benchmark.core.errors``."""
    folder, shards = config.folders[0], config.folders[-1]
    how = Packing(config.shard_mb, config.resize, config.quality if config.resize else None)
    if config.verify:
        verify(shards)
    elif config.dry_run:
        print_plan(folder, shards, how, config.workers)
    else:
        pack(folder, shards, how, config.workers, config.skip_unreadable)
    return 0
