"""``python transfer/classify.py --weights CHECKPOINT``: linear probe and k-NN on the frozen encoder.

The features of an image folder (train/ and validation/ with class folders) are computed once and kept; the probe then
takes seconds. Without --data: the embedded photographs, composed by category.
"""

import warnings

from benchmark.core.errors import run_command
from benchmark.core.options import parse
from transfer.probing.config import ClassifyConfig

PROG = "python transfer/classify.py"
DESCRIPTION = "Classify images by a linear probe and by k-NN on the frozen features of a pre-trained encoder."


def main(argv: list[str] | None = None) -> int:
    """Probe as the command line says; return 0. Other endings: ``benchmark.core.errors``."""
    config = parse(ClassifyConfig, argv, PROG, DESCRIPTION)
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
    # Imported late so that --help and mistakes answer at once.
    from pretrain.engine.life import check, live
    from pretrain.engine.processes import choose_device
    from transfer.probing.forecast import feature_seconds
    from transfer.probing.run import plan, prepare
    from transfer.probing.work import describe, probe

    run = prepare(config, choose_device(config.device))
    if not config.dry_run:
        return live(run, probe, describe)
    check(run)
    print(plan(run, feature_seconds(run)))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
