"""What fine-tuning does in its claimed folder: [sweep the lr] -> train -> save the detector -> evaluate it."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from benchmark.core.errors import UserError
from benchmark.core.files import write_json, write_text
from benchmark.core.options import to_yaml
from pretrain.engine.account import Account
from pretrain.engine.checkpoint import LAST, check_content, check_optimiser, continue_from
from pretrain.engine.hooks import Agreement, Checkpoints, Metrics, ProgressBar
from pretrain.engine.processes import from_main, is_main, say
from transfer.detection.hooks import FiniteWeights
from transfer.detection.model import build_detector, load_weights, load_whole_detector, norm_kinds
from transfer.detection.plan import cost, warnings
from transfer.detection.recording import results_in_short, sweep_details
from transfer.detection.result import (
    DETECTOR,
    PICTURE,
    PREDICTIONS,
    RESULT,
    load_detector,
    read_results,
    save_detector,
    usable_detector,
)
from transfer.detection.result import Metrics as Found
from transfer.detection.run import DetectionRun, resolve
from transfer.detection.sweep import sweep
from transfer.detection.trainer import DetectionTrainer
from transfer.evaluation.picture import draw_predictions
from transfer.evaluation.run import run_evaluation
from transfer.protocols.description import describe_protocol
from transfer.protocols.files import dump


def fine_tune(run: DetectionRun, account: Account) -> Found:
    """Train and evaluate, continuing what the folder holds; return the metrics. Errors: ``pretrain.engine.life``."""
    done = from_main(lambda: read_results(run.output))
    if done is None and run.config.data is None:
        say("no --data given: fine-tuning on the embedded photographs, which says nothing about COCO")
    if run.config.sweep_lr:
        lr, grid = sweep(run, account, train_and_evaluate)
        run = with_lr(run, lr)
        account.details |= sweep_details(lr, grid)
    if done is not None:
        say(f"this run is complete already: {run.output / RESULT}")
        account.nothing_to_do()
        return done
    metrics = train_and_evaluate(run, account)
    if is_main():
        write_json(run.output / RESULT, metrics)
        say(results_in_short(run, metrics))
        say(f"picture {run.output / PICTURE}\ndetector {run.output / DETECTOR}")
    return metrics


def with_lr(run: DetectionRun, lr: float) -> DetectionRun:
    """Return the run with the learning rate that a sweep has chosen."""
    subject = run.subject
    protocol = resolve(subject.data.task, run.config, subject.weights, subject.data, run.device, lr)
    return replace(run, subject=replace(subject, protocol=replace(protocol, lr_chosen_by="sweep")))


def train_and_evaluate(run: DetectionRun, account: Account, picture: bool = True) -> Found:
    """Train in the run's folder from its checkpoint or the start, then evaluate the saved detector."""
    config, subject = run.config, run.subject
    write_settings(run)
    model, proven = build(run)
    trainer = DetectionTrainer(subject.protocol.cfg, model, config.seed, config.log_every)
    account.details |= {"norms": norm_kinds(model), "backbone_tensors_proven": proven}
    last = trainer.max_iter
    agreement = Agreement(lambda done: done % config.checkpoint_every == 0 or done == last, config.checkpoint_minutes)
    trainer.register_hooks([agreement, FiniteWeights()])
    start = continue_from(run.output, lambda content: take_over(run, account, trainer, content))
    announce(run, trainer, start)
    if is_main():
        what = f"{subject.protocol.name} from {subject.method}"
        also = {"identity": run.identity}
        trainer.register_hooks([Metrics(run.output), ProgressBar(what), Checkpoints(run.output, account, also)])
    if start < last:
        trainer.train(start, last)
    account.details["iterations"] = last
    return finish(run, trainer, picture)


def write_settings(run: DetectionRun) -> None:
    """Write the options and the effective Detectron2 config beside the outputs, on the main process."""
    if is_main():
        write_text(run.output / "config.yaml", to_yaml(run.config))
        write_text(run.output / "detectron2.yaml", dump(run.subject.protocol.cfg))


def empty_detector(run: DetectionRun) -> nn.Module:
    """Return the protocol's detector with Detectron2's random weights, its tensors in the order of --memory-format."""
    formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    return build_detector(run.subject.protocol.cfg).to(memory_format=formats[run.config.memory_format])


def build(run: DetectionRun) -> tuple[nn.Module, int]:
    """Return the detector with its initial weights, heads drawn from --seed, and the number of tensors proven."""
    torch.manual_seed(run.config.seed)
    model = empty_detector(run)
    checkpoint = run.subject.weights.checkpoint
    proven = 0 if checkpoint is None else load_weights(model, checkpoint)
    return model, proven


def take_over(run: DetectionRun, account: Account, trainer: DetectionTrainer, content: dict[str, Any]) -> int:
    """Go on from a checkpoint's content; return its iteration.

    Raises:
        UserError: it is of another run.  Others: see ``checkpoint.continue_from``.
    """
    if content.get("identity") != run.identity:
        raise UserError(f"{run.output / LAST} is of another run than its folder; remove it to begin anew.")
    check_content(content, trainer.model.state_dict(), trainer.max_iter)
    iteration = trainer.load_state(content)
    check_optimiser(trainer.optimiser, trainer.settings)
    account.seconds_before = content["seconds"]
    return iteration


def announce(run: DetectionRun, trainer: DetectionTrainer, start: int) -> None:
    """Say what will run, what it will cost and what to think about, on the main process."""
    if not is_main():
        return
    say("\n".join([describe_protocol(run.subject.protocol, run.subject.data), *cost(run)]))
    for warning in warnings(run):
        say(f"warning: {warning}.")
    say(f"output      {run.output}")
    if start:
        say(f"continuing at iteration {start} of {trainer.max_iter}")


def finish(run: DetectionRun, trainer: DetectionTrainer, picture: bool) -> Found:
    """Save the detector, evaluate the saved file, write predictions and picture; return the metrics (main process)."""
    cfg, subject, path = trainer.cfg, run.subject, run.output / DETECTOR
    # One process decides for all: another might look when the file has just been written.
    if not from_main(lambda: usable_detector(path)):
        if cfg.TEST.PRECISE_BN.ENABLED:
            trainer.compute_precise_statistics(cfg.TEST.PRECISE_BN.NUM_ITER)
        from_main(lambda: save_detector(run, trainer.model, path))
    load_detector(trainer.model, path)
    metrics, predictions = run_evaluation(trainer.model, cfg, subject.data, run.config.evaluator)
    if is_main():
        write_findings(run, predictions, picture)
    return metrics


def write_findings(run: DetectionRun, predictions: list[dict], picture: bool = True) -> None:
    """Write predictions.json, and the picture of some of them."""
    subject = run.subject
    write_json(run.output / PREDICTIONS, predictions)
    if picture:
        draw_predictions(run.output / PICTURE, subject.protocol.cfg, subject.data, predictions, seed=run.config.seed)


def evaluate_only(run: DetectionRun, account: Account) -> Found:
    """Evaluate the detector that --weights names; write its results, predictions and picture."""
    subject = run.subject
    model = empty_detector(run)
    load_whole_detector(model, subject.weights.checkpoint, run.config.weights)
    write_settings(run)
    metrics, predictions = run_evaluation(model, subject.protocol.cfg, subject.data, run.config.evaluator)
    if is_main():
        write_findings(run, predictions)
        write_json(run.output / RESULT, metrics)
        say(results_in_short(run, metrics))
        say(f"results {run.output / RESULT}\npicture {run.output / PICTURE}")
    return metrics
