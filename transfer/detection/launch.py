"""From the command line of coco.py and voc.py to a fine-tuning run."""

import logging
import warnings

from benchmark.core.errors import UserError
from benchmark.core.options import parse
from transfer.detection.config import DetectionConfig


def launch(kind: str, argv: list[str] | None, prog: str, description: str) -> int:
    """Run a command on data of `kind`, ``coco`` or ``voc``; return 0. Other endings: ``benchmark.core.errors``."""
    config = parse(DetectionConfig, argv, prog, description)
    _silence()
    try:
        import detectron2  # noqa: F401
    except ImportError as error:
        raise UserError(f"Detectron2 cannot be imported ({error}); run `make setup`, or see README, Install.") from None
    # Imported late so that --help and mistakes answer at once.
    from pretrain.engine.life import check, live
    from pretrain.engine.processes import choose_device, is_main
    from transfer.detection.listing import listing
    from transfer.detection.plan import plan
    from transfer.detection.recording import describe
    from transfer.detection.run import prepare
    from transfer.detection.work import evaluate_only, fine_tune

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


def _silence() -> None:
    """Keep what libraries say about their own future, and users can do nothing about, off the screen."""
    about = "torch.jit|pkg_resources|torch.meshgrid|not writable|worker processes in total"
    warnings.filterwarnings("ignore", message=f".*({about}).*")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
