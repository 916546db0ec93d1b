"""``python pretrain/run.py --epochs 400``: pre-train a ResNet and leave a checkpoint.

Without --data it trains on the embedded photographs at sizes that suit a CPU (recipes/embedded.yaml) and says so.
Killed at any moment, the same command continues. Several processes: torchrun.
"""

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import RunFailed, UserError, run_command
from benchmark.folder import RESULTS, OutputFolder, claim, run_key
from benchmark.options import load_yaml, parse, to_dict, to_yaml
from pretrain.config import PretrainConfig

if TYPE_CHECKING:
    import torch

    from pretrain.images import PathList
    from pretrain.trainer import PretrainTrainer

PROG = "python pretrain/run.py"
DESCRIPTION = (
    "Pre-train an encoder by self-supervision. Defaults are the ImageNet recipe of the paper; without --data the "
    "embedded photographs are used with the sizes of pretrain/recipes/embedded.yaml."
)
EMBEDDED = Path(__file__).resolve().parent / "recipes" / "embedded.yaml"
EMBEDDED_SIZE = 96  # px of the composed photographs


def main(argv: list[str] | None = None) -> int:
    """Pre-train as the command line says. Raises ``UserError`` and ``RunFailed``."""
    config = resolve(argv)
    # Imported late so that --help and mistakes answer at once.
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
    import torch

    from pretrain import distributed

    device = distributed.choose_device(config.device)
    check(config, distributed.world_size())
    paths = find_images(config)
    check_batches(config, len(paths))
    identity = config.identity(len(paths))
    output = Path(config.output or RESULTS / "runs" / f"{config.method}-{run_key(identity)}")
    if config.dry_run:
        from pretrain.plan import make_plan

        print(make_plan(config, paths, device, output))
        return 0
    torch.set_float32_matmul_precision("high")
    distributed.initialise(device)
    try:
        train(config, paths, device, output, identity)
    finally:
        distributed.shutdown()
    return 0


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
    from pretrain.images import list_images

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


def say(text: str) -> None:
    """Print a line for people, on the main process, without breaking the progress bar."""
    from tqdm import tqdm

    from pretrain.distributed import is_main

    if is_main():
        tqdm.write(text, file=sys.stderr)


def train(
    config: PretrainConfig, paths: "PathList", device: "torch.device", output: Path, identity: dict[str, Any]
) -> None:
    """Train from the folder's last checkpoint, or from the start, to the end; write the record."""
    from pretrain.distributed import is_main
    from pretrain.hooks import Checkpoints, Diagnostics, FailureSignatures, Metrics, Progress, UnreadableImages
    from pretrain.trainer import Diverged, PretrainTrainer

    folder = claim_on_main(output, identity, config.resume)
    trainer = PretrainTrainer(config, paths, device, lambda i: (i + 1) % config.log_every == 0 or i == 0)
    start, seconds_before = restore(trainer, output)
    announce(config, trainer, start, output)
    signatures, unreadable = FailureSignatures(say), UnreadableImages(say)
    hooks: list[Any] = [Diagnostics(), signatures, unreadable]
    metrics, checkpoints = Metrics(output), Checkpoints(output, seconds_before)
    if is_main():
        hooks += [metrics, Progress(metrics), checkpoints]
    trainer.register_hooks(hooks)
    details: dict[str, Any] = {"images": len(paths)}
    try:
        if start < trainer.max_iter:
            trainer.train(start, trainer.max_iter)
    except (Diverged, RunFailed) as error:
        details |= {"reason": str(error), "warnings": signatures.found}
        if isinstance(error, Diverged):
            details |= {"iteration": error.iteration, "lr_at_end": error.lr}
        status = "diverged" if isinstance(error, Diverged) else "failed"
        record(config, output, status, {}, checkpoints.seconds, device, details)
        raise RunFailed(f"{error}; the last good checkpoint, if any, is in {output}.") from None
    details |= {"warnings": signatures.found, "unreadable": sorted(unreadable.paths)}
    if start < trainer.max_iter:
        values = {key: value for key, value in metrics.latest.items() if key not in ("iteration", "epoch")}
        record(config, output, "completed", values, checkpoints.seconds, device, details)
    if folder is not None:
        folder.release()
        print(f"done: {output / 'checkpoint.pth'}")


def claim_on_main(output: Path, identity: dict[str, Any], resume: bool) -> OutputFolder | None:
    """Claim the folder on the main process; the others learn whether that went well."""
    import torch.distributed as dist

    from pretrain.distributed import is_main, world_size

    problem: list[str | None] = [None]
    folder = None
    if is_main():
        try:
            folder = claim(output, identity, resume=resume)
        except UserError as error:
            problem = [str(error)]
    if world_size() > 1:
        dist.broadcast_object_list(problem)
    if problem[0] is not None:
        if is_main():
            raise UserError(problem[0])
        raise SystemExit(2)
    return folder


def restore(trainer: "PretrainTrainer", output: Path) -> tuple[int, float]:
    """Load the folder's last checkpoint; return the iteration to go on with and the seconds spent before."""
    from pretrain.checkpoint import LAST, load_checkpoint

    if not (output / LAST).is_file():
        return 0, 0.0
    content = load_checkpoint(output / LAST)
    return trainer.load_state(content), float(content["seconds"])


def announce(config: PretrainConfig, trainer: "PretrainTrainer", start: int, output: Path) -> None:
    """Say what will run and write the resolved config beside the outputs."""
    from benchmark.files import write_text
    from pretrain.distributed import is_main, world_size

    if not is_main():
        return
    write_text(output / "config.yaml", to_yaml(config))
    if config.data is None:
        say("no --data given: training on the embedded photographs, with sizes that suit a CPU (recipes/embedded.yaml)")
    say(
        f"{config.method}, {config.arch}, {len(trainer.paths):,} images of {config.image_size} px, {config.epochs} epochs "
        f"of {trainer.iterations_per_epoch} iterations, batch {config.batch_size} on {world_size()} process(es), "
        f"{config.precision} on {trainer.device.type}\n"
        f"lr {config.lr:g} x {config.batch_size}/256 = {config.scaled_lr:g}, warm-up {config.warmup:g} epochs\n"
        f"output {output}"
    )
    if start >= trainer.max_iter:
        say("this run is complete already; nothing to do")
    elif start:
        say(f"continuing at iteration {start} of {trainer.max_iter} (epoch {start / trainer.iterations_per_epoch:g})")


def record(
    config: PretrainConfig,
    output: Path,
    status: str,
    values: dict[str, float],
    seconds: float,
    device: "torch.device",
    details: dict[str, Any],
) -> None:
    """Write the RunRecord of this run on the main process."""
    import torch

    from benchmark import provenance
    from benchmark.files import sha256_of, sha256_of_file
    from benchmark.records import RECORDS, RunRecord
    from pretrain.checkpoint import LAST, load_checkpoint
    from pretrain.distributed import is_main, world_size

    if not is_main():
        return
    last = output / LAST
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    made = RunRecord(
        id=f"pretrain-{run_key(config.identity(details['images']))}",
        kind="pretrain",
        status=status,
        method=config.method,
        epochs=load_checkpoint(last)["epoch"] if last.is_file() else 0,
        total_epochs=config.epochs,
        weights_sha256=sha256_of_file(last) if last.is_file() else None,
        data="embedded" if config.data is None else Path(config.data).name,
        seed=config.seed,
        metrics={"pretrain": values},
        duration_seconds=seconds,
        hardware=provenance.hardware(device.type, name, world_size()),
        config_hash=sha256_of(to_dict(config)),
        config=to_dict(config),
        details={**details, "effective_rank_definition": "covariance eigenvalues, centred, at most 1024 rows"},
    )
    say(f"record {made.write(config.records or RECORDS)}")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
