"""``python transfer/classify.py --weights CHECKPOINT``: linear probe and k-NN on the frozen encoder.

The features of an image folder (train/ and validation/ with class folders) are computed once and kept; the probe of
method.md ("Recipe") then takes seconds. Without --data: the embedded photographs, composed by category.
"""

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core import provenance
from benchmark.core.errors import RunFailed, UserError, run_command
from benchmark.core.files import sha256_of, write_json, write_text
from benchmark.core.folder import RESULTS, claim, run_key
from benchmark.core.options import check_choices, option, parse, to_dict, to_yaml
from benchmark.records.record import RECORDS, RunRecord

if TYPE_CHECKING:
    import torch

    from transfer.checkpoints.weights import Weights
    from transfer.probing.features import Features, LabelledImages

PROG = "python transfer/classify.py"
DESCRIPTION = "Classify images by a linear probe and by k-NN on the frozen features of a pre-trained encoder."
PROTOCOL = "frozen_features"
METRICS = "metrics.json"
EMBEDDED_SIZE = 96  # px of the composed photographs
RANK_SAMPLES, RANK_SAMPLES_OF_A_CLASS = 2048, 128
# What may differ between two calls of one run: where it runs, not what it computes.
NOT_IDENTITY = ("output", "records", "features", "dry_run", "workers", "device", "data", "weights", "trust")
PROTOCOL_KEYS = (
    "image_size", "precision", "epochs", "batch_size", "lr", "optimizer", "neighbours", "temperature",
)  # fmt: skip


@dataclass(frozen=True)
class ClassifyConfig:
    """Every option of the classification protocol; defaults are method.md's linear probe."""

    weights: str = option("random", "a checkpoint, or 'random': the untrained encoder of --seed", group="Weights")
    branch: str = option("online", "branch of a checkpoint", group="Weights", choices=("online", "momentum"))
    arch: str = option("resnet50", "encoder of 'random'", group="Weights", choices=("resnet18", "resnet50"))
    layout: str | None = option(None, "layout of a foreign checkpoint; default: recognised", group="Weights")
    trust: bool = option(False, "load a foreign checkpoint although that may execute code in it", group="Weights")

    data: str | None = option(
        None, "folder with train/ and validation/ (or val/, test/) of class folders; default embedded", group="Data"
    )
    image_size: int | None = option(
        None, "side of the centre crop, in px; default 224, for the embedded photographs 64", group="Data"
    )
    forward_batch: int = option(128, "images in a forward pass", group="Data")
    workers: int = option(2, "processes that read images; 0: none", group="Data")

    epochs: int = option(100, "passes of the linear probe over the training features", group="Protocol")
    batch_size: int = option(4096, "of the linear probe; at most all training images", group="Protocol")
    lr: float = option(0.03, "of the linear probe for a batch of 256; times batch / 256 in use", group="Protocol")
    optimizer: str = option(
        "auto",
        "of the linear probe; auto: LARS from 10,000 steps on",
        group="Protocol",
        choices=("auto", "lars", "sgd"),
    )
    neighbours: int = option(20, "k of k-NN", group="Protocol")
    temperature: float = option(0.07, "of k-NN's votes, exp(cosine / temperature)", group="Protocol")

    device: str = option("auto", "where to compute", group="Run", choices=("auto", "cpu", "cuda"))
    precision: str = option("fp32", "of the encoder", group="Run", choices=("fp32", "bf16"))
    seed: int = option(0, "of the untrained encoder and of the probe", group="Run")
    output: str | None = option(None, "folder of the run; default results/runs/classify-<key>", group="Run")
    records: str | None = option(None, "folder of records; default results/records", group="Run")
    features: str | None = option(None, "folder in which features are kept; default results/features", group="Run")
    dry_run: bool = option(False, "print the plan and stop", group="Run")

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("image_size", "forward_batch", "epochs", "batch_size", "lr", "neighbours", "temperature"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"--{name.replace('_', '-')} is {value}; it must be above 0.")
        for name in ("workers", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name} is {getattr(self, name)}; it must be 0 or more.")

    @property
    def size(self) -> int:
        """Side of the centre crop in px, as resolved."""
        return self.image_size or (64 if self.data is None else 224)

    def protocol(self) -> dict[str, Any]:
        """Return the settings that two comparable runs share."""
        return {key: value for key, value in to_dict(self).items() if key in PROTOCOL_KEYS} | {"image_size": self.size}


@dataclass(frozen=True)
class Task:
    """What a run works on, resolved: weights, both splits, classes, and the two keys made of them."""

    weights: "Weights"
    train: "LabelledImages"
    test: "LabelledImages"
    classes: list[str]
    data: str
    identity: dict[str, Any]
    features_key: str


def main(argv: list[str] | None = None) -> int:
    """Probe as the command line says. Raises ``UserError`` and ``RunFailed``."""
    config = parse(ClassifyConfig, argv, PROG, DESCRIPTION)
    # Imported late so that --help and mistakes answer at once.
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
    from pretrain.engine.processes import choose_device

    device = choose_device(config.device)
    task = prepare(config)
    output = Path(config.output or RESULTS / "runs" / f"classify-{run_key(task.identity)}")
    if config.dry_run:
        print(plan(config, task, output))
        return 0
    folder = claim(output, task.identity)
    try:
        if (output / METRICS).is_file():
            print(f"this run is complete already: {output / METRICS}")
            return 0
        write_text(output / "config.yaml", to_yaml(config))
        run(config, task, device, output)
    finally:
        folder.release()
    return 0


def prepare(config: ClassifyConfig) -> Task:
    """Find and check everything that the run needs. Raises ``UserError``."""
    from transfer.checkpoints.weights import read_weights
    from transfer.probing.features import find_splits

    weights = read_weights(
        config.weights,
        branch=config.branch,
        arch=config.arch,
        seed=config.seed,
        layout=config.layout,
        trust=config.trust,
    )
    if config.data is None:
        from benchmark.embedded.composer import ensure_classification

        root, data = ensure_classification(size=EMBEDDED_SIZE), "embedded"
    else:
        root, data = Path(config.data).absolute(), Path(config.data).absolute().name
    train, test, classes = find_splits(root)
    images = {"train": train.fingerprint(), "test": test.fingerprint()}
    encoder = {"weights": weights.sha256, "branch": weights.branch, "arch": weights.arch}
    settings = {key: value for key, value in to_dict(config).items() if key not in NOT_IDENTITY}
    settings |= {"image_size": config.size}
    identity = {"script": "classify", "config": settings, **encoder, "data": images}
    features_key = sha256_of([encoder, images, config.size, config.precision])[:16]
    return Task(weights, train, test, classes, data, identity, features_key)


def plan(config: ClassifyConfig, task: Task, output: Path) -> str:
    """Return the plan of a run as text: the resolved config, then data, weights and iterations."""
    settings, n = _probe_settings(config), len(task.train.paths)
    batch = settings.batch_for(n)
    weights = task.weights
    return "\n".join(
        [
            to_yaml(config).rstrip(),
            "",
            f"would write {output}",
            f"weights     {weights.method}, {weights.arch}, epoch {weights.epochs} of {weights.total_epochs}, branch "
            f"{weights.branch}, sha256 {weights.sha256[:12]}",
            f"data        {n:,} training and {len(task.test.paths):,} test images ({task.test.name}), "
            f"{len(task.classes)} classes, crops of {config.size} px",
            f"probe       {settings.iterations_for(n)} iterations = {settings.epochs} epochs x {n // batch}, batch "
            f"{batch}, {settings.optimizer_for(n)}, peak lr {config.lr:g} x {batch} / 256 = {settings.lr_for(n):.4g}",
        ]
    )


def run(config: ClassifyConfig, task: Task, device: "torch.device", output: Path) -> None:
    """Compute features, probe them, write metrics and record."""
    began = time.monotonic()
    details: dict[str, Any] = {"classes": task.classes, "arch": task.weights.arch, "test_split": task.test.name}
    details["optimizer"] = _probe_settings(config).optimizer_for(len(task.train.paths))
    try:
        train, test = (kept_features(config, task, images, device) for images in (task.train, task.test))
        details |= {"unreadable": train.unreadable + test.unreadable}
        metrics = measure(config, train, test, len(task.classes), device)
    except RunFailed as error:
        record(config, task, "failed", {}, time.monotonic() - began, device, details | {"reason": str(error)})
        raise
    path = record(config, task, "completed", metrics, time.monotonic() - began, device, details)
    write_json(output / METRICS, metrics)
    print(f"{task.weights.method}, epoch {task.weights.epochs}, on {task.data} ({len(test.labels)} test images):")
    for name, values in metrics.items():
        print(f"  {name:9}" + ", ".join(f"{key} {value:.4g}" for key, value in values.items()))
    print(f"record {path}")


def kept_features(config: ClassifyConfig, task: Task, images: "LabelledImages", device: "torch.device") -> "Features":
    """Return the features of one split, from the file of an earlier run with the same encoder and images if any."""
    from transfer.checkpoints.weights import make_backbone
    from transfer.probing.features import extract, read_features, write_features

    path = Path(config.features or RESULTS / "features") / f"{task.features_key}-{images.name}.safetensors"
    found = read_features(path)
    if found is None:
        found = extract(
            make_backbone(task.weights),
            images,
            size=config.size,
            batch=config.forward_batch,
            workers=config.workers,
            device=device,
            precision=config.precision,
        )
        write_features(path, found)
    return found


def measure(
    config: ClassifyConfig, train: "Features", test: "Features", classes: int, device: "torch.device"
) -> dict[str, dict[str, float]]:
    """Return the metrics: ``linear`` and ``knn`` in percent, ``features`` with effective ranks of the training images.

    Effective ranks by the covariance definition and by singular values, of at most 2,048 training images evenly
    spaced; inside classes of at most 128 images each. ``samples`` and ``samples_of_a_class`` say how many there were.
    """
    from transfer.probing.probe import linear_probe, nearest_neighbours

    linear = linear_probe(train.pair(), test.pair(), classes, _probe_settings(config), config.seed, device)
    knn = nearest_neighbours(train.pair(), test.pair(), classes, config.neighbours, config.temperature, device)
    return {"linear": linear, "knn": knn, "features": feature_metrics(*train.pair())}


def feature_metrics(features: "torch.Tensor", labels: "torch.Tensor") -> dict[str, float]:
    """Return effective rank, RankMe and intra-class effective rank of (n, d) features; see ``measure``."""
    import torch

    from pretrain.diagnostics.spectrum import effective_rank, intra_class_effective_rank

    rows = torch.arange(len(features))
    some = evenly(rows, RANK_SAMPLES)
    per_class = [evenly(rows[labels == label], RANK_SAMPLES_OF_A_CLASS) for label in labels.unique()]
    inside = torch.cat(per_class)
    metrics = {
        "effective_rank": effective_rank(features[some], "covariance"),
        "rankme": effective_rank(features[some], "singular_values"),
        "samples": len(some),
    }
    if max(len(part) for part in per_class) >= 2:
        metrics["intra_class_effective_rank"] = intra_class_effective_rank(features[inside], labels[inside])
        metrics["samples_of_a_class"] = len(inside) / len(per_class)
    return metrics


def evenly(rows: "torch.Tensor", count: int) -> "torch.Tensor":
    """Return at most `count` of the rows, evenly spaced."""
    if len(rows) <= count:
        return rows
    return rows[[i * len(rows) // count for i in range(count)]]


def _probe_settings(config: ClassifyConfig) -> Any:
    from transfer.probing.probe import ProbeSettings

    return ProbeSettings(config.epochs, config.batch_size, config.lr, config.optimizer)


def record(
    config: ClassifyConfig,
    task: Task,
    status: str,
    metrics: dict[str, dict[str, float]],
    seconds: float,
    device: "torch.device",
    details: dict[str, Any],
) -> Path:
    """Write the RunRecord and return its path."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    weights = task.weights
    made = RunRecord(
        id=f"classification-{run_key(task.identity)}",
        kind="classification",
        status=status,
        method=weights.method,
        epochs=weights.epochs,
        total_epochs=weights.total_epochs,
        branch=weights.branch,
        weights_sha256=weights.sha256,
        protocol=PROTOCOL,
        protocol_hash=sha256_of(config.protocol()),
        data=task.data,
        seed=config.seed,
        metrics=metrics,
        duration_seconds=seconds,
        hardware=provenance.hardware(device.type, name),
        config_hash=sha256_of(to_dict(config)),
        config=to_dict(config),
        details={**details, "training_images": len(task.train.paths), "test_images": len(task.test.paths)},
    )
    return made.write(config.records or RECORDS)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
