"""A probe, resolved and checked before anything is computed, and its plan for people."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch

from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of
from benchmark.core.folder import RESULTS, check_writable, run_key
from benchmark.core.options import to_dict, to_yaml
from benchmark.embedded.composer import ensure_classification
from benchmark.records import RECORDS
from pretrain.engine.life import Run
from pretrain.engine.processes import world_size
from transfer.checkpoints.backbone import Backbone
from transfer.checkpoints.weights import resolve_weights
from transfer.probing.config import NOT_IDENTITY, ClassifyConfig
from transfer.probing.encoder import check_for_classification
from transfer.probing.repeated import check_repeated
from transfer.probing.splits import OWN_TEST, LabelledImages, find_splits

WIDTH = {"resnet18": 512, "resnet50": 2048}  # outputs of the encoder


@dataclass(frozen=True)
class Subject:
    """What a probe works on: weights, method, both splits, classes, name of the data, numbers of neighbours, the key of
    its features, and how many test images are training images too (None: not looked at)."""

    weights: Backbone
    method: str
    train: LabelledImages
    test: LabelledImages
    classes: list[str]
    data: str
    neighbours: tuple[int, ...]
    features_key: str
    leaked: int | None


ProbeRun = Run[ClassifyConfig, Subject]


def prepare(config: ClassifyConfig, device: torch.device) -> ProbeRun:
    """Find and check everything that the run needs; nothing is written. Raises ``UserError``."""
    if world_size() > 1:
        raise UserError("classification runs on one process; start it without torchrun.")
    weights = resolve_weights(
        config.weights,
        branch=config.branch,
        arch=config.arch,
        seed=config.seed,
        layout=config.layout,
        trust=config.trust,
        method=config.method,
        epoch=config.epochs_stated,
    )
    check_for_classification(weights, config.weights)
    check_writable(features_folder(config), "--features")
    if config.data is None:
        root, data = ensure_classification(), "embedded"
    else:
        root, data = Path(config.data).absolute(), Path(config.data).absolute().name
    train, test, classes = find_splits(root, config.seed)
    neighbours = tuple(k for k in config.neighbours if k <= len(train.paths))
    if not neighbours:
        raise UserError(
            f"--neighbours {min(config.neighbours)} is more than the {len(train.paths)} training images; "
            "give a smaller number."
        )
    leaked = check_repeated(train, test)
    images = {"train": train.fingerprint(), "test": test.fingerprint()}
    encoder = {"weights": weights.sha256, "branch": weights.branch, "arch": weights.arch}
    settings = {key: value for key, value in to_dict(config).items() if key not in NOT_IDENTITY}
    settings |= {"image_size": config.size}
    identity = {"script": "classify", "config": settings, **encoder, "data": images}
    features_key = sha256_of([encoder, images, config.size, config.precision])[:16]
    subject = Subject(
        weights, weights.name(config.weights), train, test, classes, data, neighbours, features_key, leaked
    )
    key = run_key(identity)
    output = Path(config.output or RESULTS / "runs" / f"classify-{key}")
    records = Path(config.records or RECORDS)
    advice = "give a smaller --forward-batch"
    return Run(
        f"classification-{key}", "classification", config, subject, identity, output, records, device, True, advice
    )


def features_folder(config: ClassifyConfig) -> Path:
    """Return the folder in which features are kept for further probes."""
    return Path(config.features or RESULTS / "features")


def _size(arch: str, images: int) -> str:
    """Return the memory and disk space of the features of that many images."""
    return f"{4 * WIDTH[arch] * images / 1e9:.3g} GB"


def notes(run: ProbeRun) -> list[str]:
    """Return what is not as usual, a line each: a folder that was split here, neighbours that are left out."""
    subject, found = run.subject, []
    if subject.test.name == OWN_TEST:
        found.append(f"split       here, by seed {run.config.seed}: a fifth of each class is for the test")
    if left_out := [str(k) for k in run.config.neighbours if k not in subject.neighbours]:
        found.append(
            f"left out    k-NN with {', '.join(left_out)}: there are {len(subject.train.paths)} training images"
        )
    if subject.leaked:
        found.append(
            f"warning     {subject.leaked} of the test images are training images too; accuracies are too high"
        )
    return found


def plan(run: ProbeRun, feature_seconds: float) -> str:
    """Return the plan of a run as text: weights, data, time and iterations first, then the resolved options."""
    config, subject, settings = run.config, run.subject, run.config.probe
    weights, n = subject.weights, len(subject.train.paths)
    batch, folder = settings.batch_for(n), config.features or RESULTS / "features"
    return "\n".join(
        [
            f"weights     {subject.method}, {weights.arch}, epoch {weights.epoch} of {weights.total_epochs}, branch "
            f"{weights.branch}, sha256 {weights.sha256[:12]}",
            f"data        {n:,} training and {len(subject.test.paths):,} test images ({subject.test.name}), "
            f"{len(subject.classes)} classes, crops of {config.size} px",
            *notes(run),
            f"features    {_size(weights.arch, n + len(subject.test.paths))} kept in {folder}; computed in about "
            f"{timedelta(seconds=round(feature_seconds))} with one reading process on this machine",
            f"probe       as {config.recipe}: {settings.iterations_for(n)} iterations = {settings.epochs} epochs x "
            f"{n // batch}, batch {batch}, {settings.optimizer_for(n)}, peak lr {settings.lr:g} x {batch} / 256 = "
            f"{settings.lr_for(n):.4g}",
            *(
                f"few labels  {share:.3g}: encoder lr {config.encoder_lr:g}, classifier lr {config.classifier_lr:g}, "
                f"{config.few_epochs} epochs"
                for share in config.label_fractions
            ),
            f"would write {run.output}",
            "",
            "# options",
            to_yaml(config).rstrip(),
        ]
    )
