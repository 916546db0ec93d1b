"""From the options of coco.py and voc.py to a fine-tuning run that lives, or to its plan."""

from pretrain.engine.life import check, live
from pretrain.engine.processes import choose_device, is_main
from transfer.detection.config import DetectionConfig
from transfer.detection.listing import listing
from transfer.detection.plan import plan
from transfer.detection.recording import describe
from transfer.detection.run import prepare
from transfer.detection.work import evaluate_only, fine_tune


def start(kind: str, config: DetectionConfig) -> int:
    """Fine-tune, evaluate, list or plan, on data of `kind`; return 0. Other endings: ``benchmark.core.errors``."""
    if config.list:
        print(listing())
        return 0
    run = prepare(kind, config, choose_device(config.device))
    if not config.dry_run:
        return live(run, evaluate_only if config.eval_only else fine_tune, describe)
    check(run)
    if is_main():
        print(plan(run))
    return 0
