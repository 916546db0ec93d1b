"""What pre-training does in its claimed folder: from the last checkpoint, or from the start, to the end."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of_file, write_text
from benchmark.core.folder import METRICS_FILE
from benchmark.core.options import to_dict, to_yaml
from pretrain.diagnostics.recording import RecordDiagnostics
from pretrain.engine.account import Account
from pretrain.engine.archive import Damaged
from pretrain.engine.checkpoint import LAST, check_content, check_optimiser, continue_from, load_checkpoint
from pretrain.engine.hooks import Agreement, Checkpoints, Metrics, ProgressBar
from pretrain.engine.life import Outcome, Run
from pretrain.engine.metrics_log import lines_until
from pretrain.engine.processes import is_main, say, world_size
from pretrain.engine.tensor_hash import tensors_sha256
from pretrain.images.collection import Images
from pretrain.training.config import PretrainConfig
from pretrain.training.hooks import EpochFiles, FailureSignatures, FirstStep, UnreadableImages
from pretrain.training.recipe import differences
from pretrain.training.trainer import RANK_DEFINITION, PretrainTrainer

PretrainRun = Run[PretrainConfig, Images]
COUNTER = "num_batches_tracked"  # of batch norm


def pretrain(run: PretrainRun, account: Account) -> dict[str, dict[str, float | None]]:
    """Train to the end; return the last logged values. Errors: ``pretrain.engine.life``."""
    config, paths = run.config, run.subject
    torch.manual_seed(config.seed)  # the state is part of checkpoints; a fresh process begins anywhere
    torch.backends.cudnn.benchmark = True  # all batches have one size
    trainer = PretrainTrainer(config, paths, run.device)
    signatures = FailureSignatures(say, warmup=round(config.warmup * trainer.iterations_per_epoch))
    unreadable = UnreadableImages(say)
    agreement = Agreement(lambda done: done % trainer.iterations_per_epoch == 0, config.checkpoint_minutes)
    trainer.register_hooks([agreement, signatures, unreadable])
    start = continue_from(run.output, lambda content: take_over(run, account, trainer, content))
    announce(run, trainer, start)
    account.details |= {"images": len(paths), "effective_rank_definition": RANK_DEFINITION}
    account.details |= {
        "differs_from_released": differences(config),
        "last_incomplete_batch": "dropped",
        "not_as_released": list(trainer.method.departures(config, world_size())),
    }
    try:
        if start >= trainer.max_iter:
            account.nothing_to_do()
        else:
            trainer.register_hooks(main_hooks(run, account, trainer))
            trainer.train(start, trainer.max_iter)
    finally:
        account.details |= {"warnings": signatures.found, "unreadable": sorted(unreadable.paths)}
    if is_main():
        with contextlib.suppress(BrokenPipeError):  # `| head` has read enough
            print(f"done: {run.output / LAST}", flush=True)
    return {"pretrain": last_values(run.output)}


def take_over(run: PretrainRun, account: Account, trainer: PretrainTrainer, content: dict[str, Any]) -> int:
    """Go on from a checkpoint's content; return its iteration.

    Raises:
        UserError: it is of another run.  Others: see ``checkpoint.continue_from``.
    """
    if content["identity"] != run.identity:
        raise UserError(
            f"{run.output / LAST} is of another run than its folder; remove it to begin anew, or put back the "
            "right one."
        )
    check_content(content, trainer.method.state_dict(), trainer.max_iter)
    if content["epoch"] != content["iteration"] // trainer.iterations_per_epoch:
        raise Damaged(f"its epoch is {content['epoch']!r} at iteration {content['iteration']}")
    if "watch" in content:  # what hooks remembered, as earlier versions wrote it
        watch, unreadable = content["watch"], {"paths": content["watch"]["unreadable"]}
        content["hooks"] = {"UnreadableImages": unreadable, "FailureSignatures": watch["signatures"]}
    iteration = trainer.load_state(content)
    check_optimiser(trainer.optimiser, trainer.settings)
    account.seconds_before = content["seconds"]
    return iteration


def main_hooks(run: PretrainRun, account: Account, trainer: PretrainTrainer) -> list[Any]:
    """Return the hooks of the main process, which writes and shows; none for the others."""
    if not is_main():
        return []
    also = {"identity": run.identity, "config": to_dict(run.config)}
    files = EpochFiles(run.output, trainer)
    what = f"{run.config.method}, {run.config.epochs} epochs"
    # Before the checkpoint: a kill between them repeats the epoch's last steps and writes the entry again.
    diagnostics = [RecordDiagnostics(run.output, run.config.diagnose_every)] if run.config.diagnose_every else []
    checkpoints = Checkpoints(run.output, account, also, before=files)
    first = [FirstStep(say)] if run.config.compile else []
    return [Metrics(run.output), ProgressBar(what), *first, *diagnostics, checkpoints]


def announce(run: PretrainRun, trainer: PretrainTrainer, start: int) -> None:
    """Say what will run and write the resolved config beside the outputs, on the main process."""
    if not is_main():
        return
    config = run.config
    write_text(run.output / "config.yaml", to_yaml(config))
    if config.data is None:
        say(f"no --data given: training on the embedded photographs, as recipes/{config.method}_embedded.yaml says")
    if config.arch == "resnet18":
        say(
            "a ResNet-18 can be classified (transfer/classify.py) and fine-tuned by the FPN protocols; C4 "
            "protocols take a ResNet-50"
        )
    say(
        f"{config.method}, {config.arch}, {len(run.subject):,} images of {config.image_size} px, "
        f"{config.epochs} epochs of {trainer.iterations_per_epoch} iterations, batch {config.batch_size} "
        f"on {world_size()} process(es), {config.precision} on {trainer.device.type}\n"
        f"lr {config.scaling_words}, warm-up {config.warmup:g} epochs\n"
        f"output {run.output}"
    )
    if start >= trainer.max_iter:
        say("this run is complete already; nothing to do")
    elif start:
        say(f"continuing at iteration {start} of {trainer.max_iter} (epoch {start / trainer.iterations_per_epoch:g})")


def last_values(output: Path) -> dict[str, float | None]:
    """Return the last line of metrics.json without its position, nothing when there is none."""
    lines = lines_until(output / METRICS_FILE, sys.maxsize)
    values = json.loads(lines[-1]) if lines else {}
    return {key: value for key, value in values.items() if key not in ("iteration", "epoch")}


def describe(run: PretrainRun, outcome: Outcome) -> dict[str, Any]:
    """Return the fields of the record that belong to pre-training."""
    config = run.config
    return {
        "method": config.method,
        "total_epochs": config.epochs,
        "data": "embedded" if config.data is None else run.subject.title,
        "details": outcome.details,
        **about_weights(run.output / LAST),
    }


def about_weights(path: Path) -> dict[str, Any]:
    """Return what a record says of the last checkpoint: completed epochs, hash of its online encoder, of its file.

    The hash is that of the tensors which a conversion keeps (batch norm's counters are left out), so that a probe's or
    a detector's record names the same weights.
    """
    try:
        content = load_checkpoint(path)
    except UserError:  # none yet, or a damaged one: the record of a failure says so
        return {"epochs": 0}
    encoder = {
        name.removeprefix("encoder."): tensor
        for name, tensor in content["model"].items()
        if name.startswith("encoder.") and not name.endswith(COUNTER)
    }
    return {
        "epochs": content["epoch"],
        "weights_sha256": tensors_sha256(encoder),
        "file_sha256": sha256_of_file(path),
    }
