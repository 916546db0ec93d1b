"""From the options of ``transfer/classify.py`` to a probe that lives, or to its plan."""

from pretrain.engine.life import check, live
from pretrain.engine.processes import choose_device
from transfer.probing.config import ClassifyConfig
from transfer.probing.forecast import feature_seconds
from transfer.probing.run import plan, prepare
from transfer.probing.work import describe, probe


def start(config: ClassifyConfig) -> int:
    """Probe, or print what --dry-run promises; return 0. Other endings: ``benchmark.core.errors``."""
    run = prepare(config, choose_device(config.device))
    if not config.dry_run:
        return live(run, probe, describe)
    check(run)
    print(plan(run, feature_seconds(run)))
    return 0
