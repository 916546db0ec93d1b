"""``python pretrain/run.py --epochs 400``: pre-train a ResNet and leave a checkpoint.

--method M chooses the method; its recipe (recipes/M_imagenet.yaml) gives the defaults. Without --data it trains on the
embedded photographs at sizes that suit a CPU (recipes/M_embedded.yaml) and says so.
Killed at any moment, the same command continues. Several processes: torchrun. More: docs/pretraining.md.
"""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.core.errors import UserError, run_command
from benchmark.core.folder import RESULTS, run_key
from benchmark.core.log import say
from pretrain.methods.registry import method_class
from pretrain.training.command_line import resolve
from pretrain.training.config import PretrainConfig

if TYPE_CHECKING:
    from pretrain.images.collection import Images
    from pretrain.training.work import PretrainRun

EMBEDDED_SIZE = 96  # px of the composed photographs


def main(argv: list[str] | None = None) -> int:
    """Pre-train as the command line says; return 0. Other endings: ``benchmark.core.errors``."""
    run = prepare(argv)
    from pretrain.engine.life import check, live
    from pretrain.engine.processes import is_main
    from pretrain.training.work import describe, pretrain

    if not run.config.dry_run:
        return live(run, pretrain, describe)
    check(run)
    if is_main():
        print_plan(run)
    return 0


def prepare(argv: list[str] | None) -> "PretrainRun":
    """Resolve the options and look at the images; raises ``UserError`` for all that can be known before training."""
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")  # its successor is younger than our oldest torch
    warnings.filterwarnings("ignore", message=".*worker processes in total.*")  # views wait for the disk, not the core
    config = resolve(argv)
    if not config.dry_run:
        where = config.output or f"a folder of its own in {RESULTS / 'runs'}"
        say(f"pre-training by {config.method}, {config.epochs} epochs, begins; it writes into {where}")
    # Imported late so that --help and mistakes answer at once.
    from pretrain.engine import processes as distributed
    from pretrain.engine.life import Run

    device = distributed.choose_device(config.device)
    check_batch(config, distributed.world_size())
    check_views(config, device.type)
    paths = find_images(config)
    check_batches(config, len(paths))
    check_method(config, paths)
    if config.compile and not config.dry_run:
        from pretrain.training.compiling import check_compiler

        check_compiler(device)
    identity = config.identity(paths.identity())
    key = run_key(identity)
    output = Path(config.output or RESULTS / "runs" / f"{config.method}-{key}")
    records = Path(config.records or RESULTS / "records")
    run = Run(f"pretrain-{key}", "pretrain", config, paths, identity, output, records, device, config.resume)
    return replace(run, less_memory="lower --micro-batch")


def print_plan(run: "PretrainRun") -> None:
    """Print what --dry-run promises."""
    from pretrain.cost.plan import make_plan

    print(make_plan(run.config, run.subject, run.device, run.output))


def check_batch(config: PretrainConfig, processes: int) -> None:
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


def check_views(config: PretrainConfig, device: str) -> None:
    """Raise ``UserError`` where --views gpu would run on a CPU that nobody asked for."""
    if config.views == "gpu" and device == "cpu" and config.device != "cpu":
        raise UserError(
            "--views gpu finds no GPU here; give --views fast, or --device cpu to make its views on the CPU, slowly."
        )


def find_images(config: PretrainConfig) -> "Images":
    """Return the images of --data, or of the embedded set, composed on first use."""
    from pretrain.shards.find import find_images as find

    if config.data is not None:
        return find(config.data, config.images)
    from benchmark.embedded.composer import ensure_pretraining_images

    return find(ensure_pretraining_images(config.images, EMBEDDED_SIZE, 0))


def check_batches(config: PretrainConfig, images: int) -> None:
    """Raise ``UserError`` when not even one batch can be filled."""
    if images < config.batch_size:
        raise UserError(
            f"{config.data or 'the embedded set'} has {images} images, fewer than --batch-size {config.batch_size}; "
            "give a smaller batch."
        )


def check_method(config: PretrainConfig, paths: "Images") -> None:
    """Raise ``UserError`` where the method cannot work with the run's options, views or images."""
    from pretrain.images.labels import find_labels

    kind = method_class(config.method)
    if (given := len(config.augmentation.recipes())) != kind.views:
        raise UserError(
            f"--blur-p and --solarize-p describe {given} view(s), and {config.method} takes {kind.views}; give one "
            "value for each."
        )
    if kind.needs_labels:
        find_labels(paths)
    kind.check(config, paths)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
