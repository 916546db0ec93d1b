"""One pre-training run from its folder's last checkpoint, or from the start, to its record."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.core.errors import RunFailed, UserError
from benchmark.core.files import write_text
from benchmark.core.options import to_yaml
from pretrain.engine.checkpoint import LAST, load_checkpoint
from pretrain.engine.processes import claim_on_main, from_main, is_main, say, wait_for_all, world_size
from pretrain.images.loading import FolderUnreadable, PathList, epoch_length
from pretrain.training.config import PretrainConfig
from pretrain.training.hooks import (
    Checkpoints,
    Diagnostics,
    FailureSignatures,
    FolderUnwritable,
    Metrics,
    Progress,
    UnreadableImages,
)
from pretrain.training.outcome import Result, failed, finish, last_values
from pretrain.training.trainer import Diverged, PretrainTrainer


@dataclass(frozen=True)
class Job:
    """What a run works on. ``identity`` is what makes it this run, ``output`` its folder."""

    config: PretrainConfig
    paths: PathList
    device: torch.device
    identity: dict[str, Any]
    output: Path


@dataclass(frozen=True)
class Watchers:
    """The hooks whose findings belong to the checkpoint and to the record."""

    signatures: FailureSignatures
    unreadable: UnreadableImages

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs of them."""
        return {"signatures": self.signatures.state(), "unreadable": sorted(self.unreadable.paths)}

    def details(self) -> dict[str, Any]:
        """Return what the record says of them."""
        return {"warnings": self.signatures.found, "unreadable": sorted(self.unreadable.paths)}


def train(job: Job) -> None:
    """Train from the folder's last checkpoint, or from the start, to the end; write the record."""
    config = job.config
    torch.manual_seed(config.seed)  # the state is part of checkpoints; a fresh process begins anywhere
    torch.backends.cudnn.benchmark = True  # all batches have one size
    folder = claim_on_main(job.output, job.identity, config.resume)
    same_images_everywhere(job)
    trainer = PretrainTrainer(config, job.paths, job.device, details_wanted(config, len(job.paths)))
    content = from_main(lambda: last_checkpoint(job))
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
            finish(job, failed(error, checkpoints.seconds, watchers.details()))
            if not isinstance(error, FolderUnreadable | FolderUnwritable):  # which the other processes do not know
                wait_for_all()  # a process that leaves early makes torchrun end the one that writes
                if not is_main():
                    raise SystemExit(1) from None
            raise RunFailed(f"{error}; the last good checkpoint, if any, is in {job.output}.") from None
        finish(job, Result("completed", last_values(job.output), checkpoints.seconds, watchers.details()))
    if folder is not None:
        folder.release()
        print(f"done: {job.output / 'checkpoint.pth'}")


def details_wanted(config: PretrainConfig, images: int) -> Callable[[int], bool]:
    """Return which iterations, counted from 0, are logged: the first, every --log-every, and the last."""
    last = config.epochs * epoch_length(images, config.batch_size) - 1
    return lambda iteration: (iteration + 1) % config.log_every == 0 or iteration in (0, last)


def make_hooks(job: Job, watchers: Watchers, seconds: float) -> tuple[list[Any], Checkpoints]:
    """Return the hooks of this process in the order in which they act, and the one that keeps the time."""
    metrics = Metrics(job.output)
    more = lambda: {"identity": job.identity, "watch": watchers.state()}  # noqa: E731
    checkpoints = Checkpoints(job.output, seconds, more)
    hooks: list[Any] = [Diagnostics(), watchers.signatures, watchers.unreadable]
    if is_main():
        hooks += [metrics, Progress(metrics), checkpoints]
    return hooks, checkpoints


def same_images_everywhere(job: Job) -> None:
    """Raise ``UserError`` on a process that sees other images than the main one (another machine's folder)."""
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


def announce(job: Job, trainer: PretrainTrainer, start: int) -> None:
    """Say what will run and write the resolved config beside the outputs."""
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
