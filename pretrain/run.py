"""``python pretrain/run.py --epochs 400``: pre-train a ResNet and leave a checkpoint.

Without --data it trains on the embedded photographs at sizes that suit a CPU (recipes/embedded.yaml) and says so.
Killed at any moment, the same command continues. Several processes: torchrun. More: docs/pretraining.md.
"""

import json
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import RunFailed, UserError, run_command
from benchmark.folder import RESULTS, OutputFolder, check_folder, claim, run_key
from benchmark.options import load_yaml, parse, to_dict, to_yaml
from pretrain.config import PretrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from pretrain.hooks import Checkpoints, FailureSignatures, UnreadableImages
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
    try:
        job = prepare(argv)
    except UserError:
        if int(os.environ.get("LOCAL_RANK", 0)):  # every process finds the same mistake; one a machine tells it
            raise SystemExit(2) from None
        raise
    from pretrain import distributed

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


@dataclass(frozen=True)
class Job:
    """What a run works on. ``identity`` is what makes it this run, ``output`` its folder."""

    config: PretrainConfig
    paths: "PathList"
    device: "torch.device"
    identity: dict[str, Any]
    output: Path


def prepare(argv: list[str] | None) -> Job:
    """Resolve the options and look at the images; raises ``UserError`` for all that can be known before training."""
    config = resolve(argv)
    # Imported late so that --help and mistakes answer at once.
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")  # its successor is younger than our oldest torch
    warnings.filterwarnings("ignore", message=".*worker processes in total.*")  # views wait for the disk, not the core
    from pretrain import distributed

    device = distributed.choose_device(config.device)
    check(config, distributed.world_size())
    paths = find_images(config)
    check_batches(config, len(paths))
    identity = config.identity(paths.identity())
    output = Path(config.output or RESULTS / "runs" / f"{config.method}-{run_key(identity)}")
    return Job(config, paths, device, identity, output)


def print_plan(job: Job) -> None:
    """Print what --dry-run promises, after the check that the folder is free for this run; writes nothing."""
    from pretrain.plan import make_plan

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


def train(job: Job) -> None:
    """Train from the folder's last checkpoint, or from the start, to the end; write the record."""
    import torch

    from pretrain import distributed
    from pretrain.hooks import FailureSignatures, UnreadableImages
    from pretrain.images import FolderUnreadable
    from pretrain.trainer import Diverged, PretrainTrainer

    config = job.config
    torch.manual_seed(config.seed)  # the state is part of checkpoints; a fresh process begins anywhere
    torch.backends.cudnn.benchmark = True  # all batches have one size
    folder = claim_on_main(job)
    same_images_everywhere(job)
    trainer = PretrainTrainer(config, job.paths, job.device, details_wanted(config, len(job.paths)))
    content = distributed.from_main(lambda: last_checkpoint(job))
    start, seconds, watch = 0, 0.0, {"signatures": None, "unreadable": ()}
    if content is not None:
        start, seconds, watch = trainer.load_state(content), content["seconds"], content["watch"]
        del content
    announce(job, trainer, start)
    signatures = FailureSignatures(say, warmup=round(config.warmup * trainer.iterations_per_epoch))
    if watch["signatures"]:
        signatures.load_state(watch["signatures"])
    watchers = Watchers(signatures, UnreadableImages(say, tuple(watch["unreadable"])))
    if start >= trainer.max_iter:
        finish(job, Result("completed", last_values(job.output), seconds, watchers.details()), anew=False)
    else:
        hooks, checkpoints = make_hooks(job, watchers, seconds)
        trainer.register_hooks(hooks)
        try:
            trainer.train(start, trainer.max_iter)
        except (Diverged, RunFailed) as error:
            finish(job, failed(error, checkpoints.seconds, watchers))
            if not isinstance(error, FolderUnreadable):  # which the other processes do not know
                distributed.wait_for_all()  # a process that leaves early makes torchrun end the one that writes
                if not distributed.is_main():
                    raise SystemExit(1) from None
            raise RunFailed(f"{error}; the last good checkpoint, if any, is in {job.output}.") from None
        finish(job, Result("completed", last_values(job.output), checkpoints.seconds, watchers.details()))
    if folder is not None:
        folder.release()
        print(f"done: {job.output / 'checkpoint.pth'}")


def details_wanted(config: PretrainConfig, images: int) -> "Callable[[int], bool]":
    """Return which iterations, counted from 0, are logged: the first, every --log-every, and the last."""
    from pretrain.images import epoch_length

    last = config.epochs * epoch_length(images, config.batch_size) - 1
    return lambda iteration: (iteration + 1) % config.log_every == 0 or iteration in (0, last)


@dataclass(frozen=True)
class Watchers:
    """The hooks whose findings belong to the checkpoint and to the record."""

    signatures: "FailureSignatures"
    unreadable: "UnreadableImages"

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs of them."""
        return {"signatures": self.signatures.state(), "unreadable": sorted(self.unreadable.paths)}

    def details(self) -> dict[str, Any]:
        """Return what the record says of them."""
        return {"warnings": self.signatures.found, "unreadable": sorted(self.unreadable.paths)}


def make_hooks(job: Job, watchers: Watchers, seconds: float) -> "tuple[list[Any], Checkpoints]":
    """Return the hooks of this process in the order in which they act, and the one that keeps the time."""
    from pretrain.distributed import is_main
    from pretrain.hooks import Checkpoints, Diagnostics, Metrics, Progress

    metrics = Metrics(job.output)
    more = lambda: {"identity": job.identity, "watch": watchers.state()}  # noqa: E731
    checkpoints = Checkpoints(job.output, seconds, more)
    hooks: list[Any] = [Diagnostics(), watchers.signatures, watchers.unreadable]
    if is_main():
        hooks += [metrics, Progress(metrics), checkpoints]
    return hooks, checkpoints


def claim_on_main(job: Job) -> OutputFolder | None:
    """Claim the folder on the main process, whose lock it keeps; the others learn whether that went well."""
    from pretrain.distributed import from_main

    claimed: list[OutputFolder] = []
    from_main(lambda: claimed.append(claim(job.output, job.identity, resume=job.config.resume)))
    return claimed[0] if claimed else None


def same_images_everywhere(job: Job) -> None:
    """Raise ``UserError`` on a process that sees other images than the main one (another machine's folder)."""
    from pretrain.distributed import from_main

    wanted = from_main(lambda: job.identity["images"])
    if job.identity["images"] != wanted:
        raise UserError(
            f"{job.config.data} holds other images here ({job.identity['images']}) than on the first machine "
            f"({wanted}); give all machines the same."
        )


def last_checkpoint(job: Job) -> dict[str, Any] | None:
    """Return the content of the folder's last checkpoint, None when there is none.

    Raises ``UserError`` when it is damaged or belongs to another run.
    """
    from pretrain.checkpoint import LAST, load_checkpoint

    path = job.output / LAST
    if not path.is_file():
        return None
    try:
        content = load_checkpoint(path)
    except UserError as error:
        raise UserError(
            f"{error} Remove it to begin anew, or put a kept checkpoint of this run in its place."
        ) from None
    if content.get("identity") != job.identity:
        raise UserError(
            f"{path} is of another run than its folder; remove it to begin anew, or put the right one back."
        )
    return content


def announce(job: Job, trainer: "PretrainTrainer", start: int) -> None:
    """Say what will run and write the resolved config beside the outputs."""
    from benchmark.files import write_text
    from pretrain.distributed import is_main, world_size

    if not is_main():
        return
    config = job.config
    write_text(job.output / "config.yaml", to_yaml(config))
    if config.data is None:
        say("no --data given: training on the embedded photographs, with sizes that suit a CPU (recipes/embedded.yaml)")
    say(
        f"{config.method}, {config.arch}, {len(job.paths):,} images of {config.image_size} px, {config.epochs} epochs "
        f"of {trainer.iterations_per_epoch} iterations, batch {config.batch_size} on {world_size()} process(es), "
        f"{config.precision} on {trainer.device.type}\n"
        f"lr {config.lr:g} x {config.batch_size}/256 = {config.scaled_lr:g}, warm-up {config.warmup:g} epochs\n"
        f"output {job.output}"
    )
    if start >= trainer.max_iter:
        say("this run is complete already; nothing to do")
    elif start:
        say(f"continuing at iteration {start} of {trainer.max_iter} (epoch {start / trainer.iterations_per_epoch:g})")


@dataclass(frozen=True)
class Result:
    """How a run ended: status, last logged values, seconds of all its parts, and details for the record."""

    status: str
    values: dict[str, float]
    seconds: float
    details: dict[str, Any]


def failed(error: Exception, seconds: float, watchers: Watchers) -> Result:
    """Return the result of a run that diverged or failed, with its reason."""
    from pretrain.trainer import Diverged

    details = {"reason": str(error), **watchers.details()}
    if isinstance(error, Diverged):
        return Result("diverged", {}, seconds, {**details, "iteration": error.iteration, "lr_at_end": error.lr})
    return Result("failed", {}, seconds, details)


def last_values(output: Path) -> dict[str, float]:
    """Return the last line of metrics.json without its position, nothing when there is none."""
    from pretrain.hooks import lines_until

    lines = lines_until(output / "metrics.json", sys.maxsize)
    values = json.loads(lines[-1]) if lines else {}
    return {key: value for key, value in values.items() if key not in ("iteration", "epoch")}


def finish(job: Job, result: Result, anew: bool = True) -> None:
    """Write the RunRecord on the main process; one that is there already stays unless `anew`."""
    import torch

    from benchmark import provenance
    from benchmark.files import sha256_of, sha256_of_file
    from benchmark.records import RECORDS, RunRecord
    from pretrain.checkpoint import LAST, load_checkpoint
    from pretrain.distributed import is_main, world_size
    from pretrain.hooks import RANK_DEFINITION

    config, folder, last = job.config, Path(job.config.records or RECORDS), job.output / LAST
    name = f"pretrain-{run_key(job.identity)}"
    if not is_main() or (not anew and (folder / f"{name}.json").is_file()):
        return
    card = torch.cuda.get_device_name(job.device) if job.device.type == "cuda" else None
    made = RunRecord(
        id=name,
        kind="pretrain",
        status=result.status,
        method=config.method,
        epochs=load_checkpoint(last)["epoch"] if last.is_file() else 0,
        total_epochs=config.epochs,
        weights_sha256=sha256_of_file(last) if last.is_file() else None,
        data="embedded" if config.data is None else Path(config.data).resolve().name,
        seed=config.seed,
        metrics={"pretrain": result.values},
        duration_seconds=result.seconds,
        hardware=provenance.hardware(job.device.type, card, world_size()),
        config_hash=sha256_of(to_dict(config)),
        config=to_dict(config),
        details={"images": len(job.paths), **result.details, "effective_rank_definition": RANK_DEFINITION},
    )
    say(f"record {made.write(folder)}")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
