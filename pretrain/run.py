"""``python pretrain/run.py --epochs 400``: pre-train a ResNet and leave a checkpoint.

Without --data it trains on the embedded photographs at sizes that suit a CPU (recipes/embedded.yaml) and says so.
Killed at any moment, the same command continues. Several processes: torchrun. More: docs/pretraining.md.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.core.errors import UserError, leave_to_first, run_command
from benchmark.core.folder import RESULTS, check_folder, run_key
from benchmark.core.options import load_yaml, parse
from pretrain.training.config import PretrainConfig

if TYPE_CHECKING:
    from pretrain.images.loading import PathList
    from pretrain.training.job import Job

PROG = "python pretrain/run.py"
DESCRIPTION = (
    "Pre-train an encoder by self-supervision. Defaults are the ImageNet recipe of the paper; without --data the "
    "embedded photographs are used with the sizes of pretrain/recipes/embedded.yaml."
)
EMBEDDED = Path(__file__).resolve().parent / "recipes" / "embedded.yaml"
EMBEDDED_SIZE = 96  # px of the composed photographs


def main(argv: list[str] | None = None) -> int:
    """Pre-train as the command line says. Raises ``UserError`` and ``RunFailed``."""
    try:
        job = prepare(argv)
    except UserError:
        leave_to_first()
        raise
    from pretrain.engine import processes as distributed
    from pretrain.training.job import train

    if job.config.dry_run:
        if distributed.is_main():
            print_plan(job)
        return 0
    distributed.initialise(job.device)
    try:
        train(job)
    finally:
        distributed.shutdown()
    return 0


def prepare(argv: list[str] | None) -> "Job":
    """Resolve the options and look at the images; raises ``UserError`` for all that can be known before training."""
    config = resolve(argv)
    # Imported late so that --help and mistakes answer at once.
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")  # its successor is younger than our oldest torch
    warnings.filterwarnings("ignore", message=".*worker processes in total.*")  # views wait for the disk, not the core
    from pretrain.engine import processes as distributed
    from pretrain.training.job import Job

    device = distributed.choose_device(config.device)
    check(config, distributed.world_size())
    paths = find_images(config)
    check_batches(config, len(paths))
    identity = config.identity(paths.identity())
    output = Path(config.output or RESULTS / "runs" / f"{config.method}-{run_key(identity)}")
    return Job(config, paths, device, identity, output)


def print_plan(job: "Job") -> None:
    """Print what --dry-run promises, after the check that the folder is free for this run; writes nothing."""
    from pretrain.cost.plan import make_plan

    check_folder(job.output, job.identity)
    print(make_plan(job.config, job.paths, job.device, job.output))


def resolve(argv: list[str] | None) -> PretrainConfig:
    """Return the config: flags over --config over the embedded recipe (without --data) over the paper's defaults."""
    config = parse(PretrainConfig, argv, PROG, DESCRIPTION)
    if config.data is None:
        config = parse(PretrainConfig, argv, PROG, DESCRIPTION, defaults=load_yaml(EMBEDDED))
    return config


def check(config: PretrainConfig, processes: int) -> None:
    """Raise ``UserError`` where the batch does not suit the processes."""
    if config.batch_size % processes:
        raise UserError(f"--batch-size {config.batch_size} is not divisible by {processes} processes; change either.")
    local = config.batch_size // processes
    if local < 2:
        raise UserError(f"--batch-size {config.batch_size} leaves one image for each of {processes} processes.")
    if config.micro_batch and (local % config.micro_batch or config.micro_batch < 2):
        raise UserError(
            f"--micro-batch {config.micro_batch} does not divide the {local} images of a process into parts of 2 or "
            "more; choose a divisor."
        )


def find_images(config: PretrainConfig) -> "PathList":
    """Return the images of --data, or of the embedded set, composed on first use."""
    from pretrain.images.loading import list_images

    if config.data is not None:
        return list_images(config.data, config.images)
    from benchmark.embedded.composer import ensure_pretraining_images

    return list_images(ensure_pretraining_images(config.images, EMBEDDED_SIZE, 0))


def check_batches(config: PretrainConfig, images: int) -> None:
    """Raise ``UserError`` when not even one batch can be filled."""
    if images < config.batch_size:
        raise UserError(
            f"{config.data or 'the embedded set'} has {images} images, fewer than --batch-size {config.batch_size}; "
            "give a smaller batch."
        )


if __name__ == "__main__":
    raise SystemExit(run_command(main))
