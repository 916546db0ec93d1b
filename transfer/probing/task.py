"""What a probe works on, resolved and checked before anything is computed, and its plan for people."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.core.files import sha256_of
from benchmark.core.folder import RESULTS, run_key
from benchmark.core.options import to_dict, to_yaml
from benchmark.embedded.composer import ensure_classification
from transfer.checkpoints.backbone import Backbone
from transfer.checkpoints.weights import resolve_weights
from transfer.probing.config import NOT_IDENTITY, ClassifyConfig
from transfer.probing.encoder import check_for_classification
from transfer.probing.features import LabelledImages, find_splits
from transfer.probing.probe import ProbeSettings

EMBEDDED_SIZE = 96  # px of the composed photographs


@dataclass(frozen=True)
class ProbeTask:
    """What a run works on, resolved: config, weights, both splits, classes, and the two keys made of them."""

    config: ClassifyConfig
    weights: Backbone
    train: LabelledImages
    test: LabelledImages
    classes: list[str]
    data: str
    identity: dict[str, Any]
    features_key: str

    @property
    def method(self) -> str:
        """Name of the pre-training method: by the file's own account, else the file's name."""
        return self.weights.name(self.config.weights)

    @property
    def output(self) -> Path:
        """The folder of the run."""
        return Path(self.config.output or RESULTS / "runs" / f"classify-{run_key(self.identity)}")

    @property
    def settings(self) -> ProbeSettings:
        """Settings of the linear probe."""
        config = self.config
        return ProbeSettings(config.epochs, config.batch_size, config.lr, config.optimizer)


def prepare(config: ClassifyConfig) -> ProbeTask:
    """Find and check everything that the run needs. Raises ``UserError``."""
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
    if config.data is None:
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
    return ProbeTask(config, weights, train, test, classes, data, identity, features_key)


def plan(task: ProbeTask) -> str:
    """Return the plan of a run as text: the resolved config, then data, weights and iterations."""
    config, settings, n = task.config, task.settings, len(task.train.paths)
    batch = settings.batch_for(n)
    weights = task.weights
    return "\n".join(
        [
            to_yaml(config).rstrip(),
            "",
            f"would write {task.output}",
            f"weights     {task.method}, {weights.arch}, epoch {weights.epoch} of {weights.total_epochs}, branch "
            f"{weights.branch}, sha256 {weights.sha256[:12]}",
            f"data        {n:,} training and {len(task.test.paths):,} test images ({task.test.name}), "
            f"{len(task.classes)} classes, crops of {config.size} px",
            f"probe       {settings.iterations_for(n)} iterations = {settings.epochs} epochs x {n // batch}, batch "
            f"{batch}, {settings.optimizer_for(n)}, peak lr {config.lr:g} x {batch} / 256 = {settings.lr_for(n):.4g}",
        ]
    )
