"""From the options of ``pretrain/run.py`` to a run that lives: device, images, folder, and whether all of it fits."""

from dataclasses import replace
from pathlib import Path

from benchmark.core.errors import UserError
from benchmark.core.folder import RESULTS, run_key
from benchmark.embedded.composer import ensure_pretraining_images
from pretrain.cost.plan import make_plan
from pretrain.engine.life import Run, check, live
from pretrain.engine.processes import choose_device, is_main, world_size
from pretrain.images.collection import Images
from pretrain.images.labels import find_labels
from pretrain.methods.registry import method_class
from pretrain.shards.find import find_images
from pretrain.training.compiling import check_compiler
from pretrain.training.config import PretrainConfig
from pretrain.training.work import PretrainRun, describe, pretrain


def start(config: PretrainConfig) -> int:
    """Pre-train, or print what --dry-run promises; return 0. Other endings: ``benchmark.core.errors``."""
    run = prepare(config)
    if not config.dry_run:
        return live(run, pretrain, describe)
    check(run)
    if is_main():
        print(make_plan(run.config, run.subject, run.device, run.output))
    return 0


def prepare(config: PretrainConfig) -> PretrainRun:
    """Look at device and images; raises ``UserError`` for all that can be known before training."""
    device = choose_device(config.device)
    check_batch(config, world_size())
    check_views(config, device.type)
    paths = images_of(config)
    check_batches(config, len(paths))
    check_method(config, paths)
    if config.compile and not config.dry_run:
        check_compiler(device)
    identity = config.identity(paths.identity())
    key = run_key(identity)
    output = Path(config.output or RESULTS / "runs" / f"{config.method}-{key}")
    records = Path(config.records or RESULTS / "records")
    run = Run(f"pretrain-{key}", "pretrain", config, paths, identity, output, records, device, config.resume)
    return replace(run, less_memory="lower --micro-batch")


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


def images_of(config: PretrainConfig) -> Images:
    """Return the images of --data, or of the embedded set, composed on first use."""
    if config.data is not None:
        return find_images(config.data, config.images)
    return find_images(ensure_pretraining_images(config.images))


def check_batches(config: PretrainConfig, images: int) -> None:
    """Raise ``UserError`` when not even one batch can be filled."""
    if images < config.batch_size:
        raise UserError(
            f"{config.data or 'the embedded set'} has {images} images, fewer than --batch-size {config.batch_size}; "
            "give a smaller batch."
        )


def check_method(config: PretrainConfig, paths: Images) -> None:
    """Raise ``UserError`` where the method cannot work with the run's options, views or images."""
    kind = method_class(config.method)
    if (given := len(config.augmentation.recipes())) != kind.views:
        raise UserError(
            f"--blur-p and --solarize-p describe {given} view(s), and {config.method} takes {kind.views}; give one "
            "value for each."
        )
    if kind.needs_labels:
        find_labels(paths)
    kind.check(config, paths)
