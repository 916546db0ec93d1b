"""What a fine-tuning run found, for people and for the table: the summary on the screen and the record's fields."""

from typing import Any

from benchmark.core.files import sha256_of
from benchmark.core.options import to_dict
from pretrain.engine.life import Outcome
from pretrain.engine.tensor_hash import tensors_sha256
from transfer.checkpoints.backbone import Backbone
from transfer.checkpoints.sources import record_of
from transfer.detection.run import DetectionRun


def results_in_short(run: DetectionRun, metrics: dict[str, dict[str, float | None]]) -> str:
    """Return AP, AP50 and AP75 of box and mask as one line a task; what is missing is a dash."""
    subject = run.subject
    lines = [f"{subject.method} on {subject.data.name}, {subject.protocol.name}:"]
    for name, values in metrics.items():
        shown = [
            f"{key} {'-' if values.get(key) is None else format(values[key], '.2f')}" for key in ("AP", "AP50", "AP75")
        ]
        lines.append(f"  {name:5}" + ", ".join(shown))
    return "\n".join(lines)


def sweep_details(lr: float, grid: dict[str, Any]) -> dict[str, Any]:
    """Return what a record says of a sweep: the chosen learning rate and the grid."""
    return {"lr": lr, "lr_chosen_by": "sweep", "sweep": grid}


def describe(run: DetectionRun, outcome: Outcome) -> dict[str, Any]:
    """Return the fields of the record that belong to fine-tuning and to evaluation."""
    if run.config.eval_only:
        return _of_an_evaluation(run, outcome)
    return _of_weights(run) | _of_protocol(run) | {"details": _details(run) | outcome.details}


def _of_weights(run: DetectionRun) -> dict[str, Any]:
    start = run.subject.weights
    return {
        "method": run.subject.method,
        "epochs": start.epoch,
        **record_of(start),
        "total_epochs": start.total_epochs,
        "branch": start.branch,
        "pretrain_seed": start.seed,
        "weights_sha256": tensors_sha256(start.tensors) if isinstance(start, Backbone) and start.tensors else None,
        "file_sha256": start.sha256,
    }


def _of_protocol(run: DetectionRun) -> dict[str, Any]:
    protocol = run.subject.protocol
    return {
        "protocol": protocol.name,
        "protocol_hash": protocol.hash,
        "data": run.subject.data.name,
        "overrides": protocol.overrides,
    }


def _details(run: DetectionRun) -> dict[str, Any]:
    subject, cfg = run.subject, run.subject.protocol.cfg
    details = {
        "family": subject.weights.family,
        "layout": subject.weights.layout,
        "lr": cfg.SOLVER.BASE_LR,
        "lr_chosen_by": subject.protocol.lr_chosen_by,
        "norm": subject.protocol.norm,
        "ims_per_batch": cfg.SOLVER.IMS_PER_BATCH,
        "arithmetic": list(subject.protocol.arithmetic),
        "max_iter": cfg.SOLVER.MAX_ITER,
        "precision": "bf16" if cfg.SOLVER.AMP.ENABLED else "fp32",
        "memory_format": run.config.memory_format,
        "evaluator": run.config.evaluator,
        "test_images": subject.data.test_images,
        "data_fingerprint": subject.data.fingerprint,
        "fraction": subject.data.fraction,
    }
    if subject.data.train_images:
        seen = cfg.SOLVER.MAX_ITER * cfg.SOLVER.IMS_PER_BATCH
        details |= {"epochs_over_data": seen / subject.data.train_images, "train_images": subject.data.train_images}
    if subject.weights.zoo is not None:
        details["zoo"] = subject.weights.zoo
    if subject.data.image_ids is not None:
        details["image_ids"] = list(subject.data.image_ids)
    return details


def of_the_run(run: DetectionRun) -> dict[str, Any]:
    """Return what a saved detector keeps of its run, so that a later evaluation can take the run's place in a table."""
    config = to_dict(run.config)
    fields = {"id": run.id, "seed": run.config.seed, "config": config, "config_hash": sha256_of(config)}
    return {**fields, **_of_weights(run), **_of_protocol(run), "details": _details(run)}


def _of_an_evaluation(run: DetectionRun, outcome: Outcome) -> dict[str, Any]:
    """Return the fields of the record of ``--eval-only --record``.

    A detector of ours keeps what its run was: the new figures take the place of that run's, under its id, and do not
    count as one more repeat. Of any other detector nothing is known but what its file says: kind ``imported``.
    """
    kept = run.subject.weights.checkpoint.get("run")
    details = outcome.details | {"evaluated_only": True, "test_images": run.subject.data.test_images}
    details |= {"evaluator": run.config.evaluator, "data_fingerprint": run.subject.data.fingerprint}
    if kept is not None:
        return kept | {"details": kept["details"] | details}
    return {
        **_of_weights(run),
        **_of_protocol(run),
        "kind": "imported",
        "seed": None,
        "duration_seconds": None,
        "details": details | {"norm": run.subject.protocol.norm},
    }
