"""What a probe does in its claimed folder: features -> measurements -> results.json."""

import json
from pathlib import Path
from typing import Any

from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of, write_json, write_text
from benchmark.core.options import to_yaml
from pretrain.engine.account import Account
from pretrain.engine.life import Outcome
from pretrain.engine.processes import say
from pretrain.engine.tensor_hash import tensors_sha256
from transfer.checkpoints.sources import record_of
from transfer.probing.encoder import make_encoder
from transfer.probing.features import Features, extract, read_features, write_features
from transfer.probing.measure import measure
from transfer.probing.run import WIDTH, ProbeRun, features_folder, notes
from transfer.probing.scores import accuracies, by_class, ranks
from transfer.probing.semi_supervised import (
    ClassifierTrainer,
    FineTuneSettings,
    balanced_subset,
    fine_tune_classifier,
    names_of,
)
from transfer.probing.splits import LabelledImages

PROTOCOL = "frozen_features"
RESULT = "results.json"

Metrics = dict[str, dict[str, float | None]]


def probe(run: ProbeRun, account: Account) -> Metrics:
    """Compute features and probe them; return the metrics. Errors: ``pretrain.engine.life``."""
    subject, done = run.subject, read_results(run.output / RESULT)
    account.details |= {"classes": subject.classes, "arch": subject.weights.arch, "test_split": subject.test.name}
    account.details |= {"training_images": len(subject.train.paths), "test_images": len(subject.test.paths)}
    account.details["test_images_also_in_training"] = subject.leaked
    account.details["optimizer"] = run.config.probe.optimizer_for(len(subject.train.paths))
    if done is not None:
        say(f"this run is complete already: {run.output / RESULT}")
        account.nothing_to_do()
        return done
    say("\n".join([f"{subject.method} on {subject.data}; output {run.output}", *notes(run)]))
    write_text(run.output / "config.yaml", to_yaml(run.config))
    train, test = (kept_features(run, images) for images in (subject.train, subject.test))
    account.details["unreadable"] = train.unreadable + test.unreadable
    metrics, details = measure(run, train, test)
    account.details |= details
    for share in run.config.label_fractions:
        metrics[f"labels_{share:g}"], found = with_few_labels(run, account, share)
        account.details.setdefault("few_labels", {})[f"{share:g}"] = found
    write_json(run.output / RESULT, metrics)
    print(f"{subject.method}, epoch {subject.weights.epoch}, on {subject.data} ({len(test.labels)} test images):")
    for name, values in metrics.items():
        print(f"  {name:9}" + ", ".join(f"{key} {value:.4g}" for key, value in values.items()))
    return metrics


def kept_features(run: ProbeRun, images: LabelledImages) -> Features:
    """Return the features of one split, from the file of an earlier run with the same encoder and images if any."""
    config = run.config
    path = features_folder(config) / f"{run.subject.features_key}-{images.name}.safetensors"
    found = read_features(path)
    if found is None:
        found = extract(
            make_encoder(run.subject.weights),
            images,
            size=config.size,
            batch=config.forward_batch,
            workers=config.workers,
            device=run.device,
            precision=config.precision,
        )
        write_features(path, found)
    return found


def with_few_labels(run: ProbeRun, account: Account, share: float) -> tuple[dict[str, float], dict[str, Any]]:
    """Fine-tune the encoder with `share` of the labels; return its accuracies, and what the record says of it."""
    config, subject = run.config, run.subject
    images = balanced_subset(subject.train, share, len(subject.classes), config.seed)
    encoder = make_encoder(subject.weights)
    trainer = ClassifierTrainer(
        encoder,
        WIDTH[subject.weights.arch],
        images,
        len(subject.classes),
        FineTuneSettings(config.few_epochs, config.few_batch, config.encoder_lr, config.classifier_lr),
        size=config.size,
        seed=config.seed,
        workers=config.workers,
        device=run.device,
    )
    folder = run.output / f"labels-{share:g}"
    model = fine_tune_classifier(trainer, folder, f"{share:.3g} of the labels", account, config.checkpoint_minutes)
    scores = extract(
        model, subject.test, size=config.size, batch=config.forward_batch, workers=config.workers, device=run.device
    )
    found, classes = ranks(lambda rows: rows, *scores.pair())
    details = {"images": names_of(images), "iterations": trainer.max_iter}
    return accuracies(found, classes), details | {"top1_by_class": by_class(found, scores.labels, subject.classes)}


def read_results(path: Path) -> Metrics | None:
    """Return the metrics of a complete run, or None. Raises ``UserError`` for a damaged file."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); remove it, and the same command measures again.") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no results; remove it, and the same command measures again.")
    return found


def describe(run: ProbeRun, outcome: Outcome) -> dict[str, Any]:
    """Return the fields of the record that belong to a probe."""
    subject, weights = run.subject, run.subject.weights
    return {
        "method": subject.method,
        "epochs": weights.epoch,
        **record_of(weights),
        "total_epochs": weights.total_epochs,
        "branch": weights.branch,
        "pretrain_seed": weights.seed,
        "weights_sha256": tensors_sha256(weights.tensors),
        "file_sha256": weights.sha256,
        "protocol": PROTOCOL,
        "protocol_hash": sha256_of(run.config.protocol()),
        "data": subject.data,
        "details": outcome.details | ({"zoo": weights.zoo} if weights.zoo is not None else {}),
    }
