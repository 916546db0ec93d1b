"""From the command line of coco.py and voc.py to a fine-tuning run: options, processes, mistakes told once."""

import logging
import warnings

from benchmark.core.errors import UserError
from benchmark.core.options import parse
from transfer.detection.config import DetectionConfig


def launch(kind: str, argv: list[str] | None, prog: str, description: str) -> int:
    """Run a command on data of `kind`, ``coco`` or ``voc``; return 0. Raises ``UserError`` and ``RunFailed``."""
    config = parse(DetectionConfig, argv, prog, description)
    _silence()
    try:
        import detectron2  # noqa: F401
    except ImportError as error:
        raise UserError(f"Detectron2 cannot be imported ({error}); run `make setup`, or see README, Install.") from None
    # Imported late so that --help and mistakes answer at once.
    from pretrain.engine import processes as distributed
    from transfer.detection import job
    from transfer.detection.task import plan, prepare

    device = distributed.choose_device(config.device)
    task = prepare(kind, config, device)
    if config.dry_run:
        if distributed.is_main():
            print(plan(task))
        return 0
    distributed.initialise(device)
    try:
        (job.evaluate_only if config.eval_only else job.fine_tune)(task)
    finally:
        distributed.shutdown()
    return 0


def _silence() -> None:
    """Keep what libraries say about their own future, and users can do nothing about, off the screen."""
    about = "torch.jit|pkg_resources|torch.meshgrid|not writable|worker processes in total"
    warnings.filterwarnings("ignore", message=f".*({about}).*")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
