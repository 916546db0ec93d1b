"""ClassifyConfig: every option of the classification protocol. Imports no torch."""

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from benchmark.core.errors import UserError
from benchmark.core.options import check_values, option, to_dict
from benchmark.core.value_types import (
    Architecture,
    Branch,
    Count,
    CountOrZero,
    Device,
    PathText,
    PositiveFloat,
    Seed,
    Workers,
)
from transfer.probing.recipes import RECIPES, ProbeSettings

# What may differ between two calls of one run: where it runs, not what it computes.
NOT_IDENTITY = (
    "output", "records", "features", "dry_run", "workers", "device", "data", "weights", "trust", "checkpoint_minutes",
)  # fmt: skip
PROTOCOL_KEYS = (
    "image_size", "precision", "neighbours", "temperature",
    "label_fractions", "few_epochs", "few_batch", "encoder_lr", "classifier_lr",
)  # fmt: skip

Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


@dataclass(frozen=True)
class ClassifyConfig:
    """Every option of the classification protocol; defaults are those of the linear probe on ImageNet."""

    weights: PathText = option(
        "random",
        "a checkpoint, or 'random' (the untrained encoder of --seed), or what is published: 'zoo:NAME' (python "
        "benchmark/zoo.py lists them), 'hf:OWNER/NAME[/FILE]', 'https://...', 'torchvision:IMAGENET1K_V2'",
        group="Weights",
    )
    branch: Branch = option("online", "branch of a checkpoint", group="Weights")
    arch: Architecture = option("resnet50", "encoder of 'random'", group="Weights")
    layout: str | None = option(None, "layout of a foreign checkpoint; default: recognised", group="Weights")
    trust: bool = option(False, "load a foreign checkpoint although that may execute code in it", group="Weights")

    method: str | None = option(
        None, "pre-training method of a file that does not say it; recorded as stated by you", group="Weights"
    )
    epochs_stated: CountOrZero | None = option(
        None, "epochs of pre-training of a file that does not say them; recorded as stated by you", group="Weights"
    )

    data: PathText | None = option(
        None, "folder with train/ and validation/ (or val/, test/) of class folders; default embedded", group="Data"
    )
    image_size: Count | None = option(
        None, "side of the centre crop, in px; default 224, for the embedded photographs 64", group="Data"
    )
    forward_batch: Count = option(128, "images in a forward pass", group="Data")
    workers: Workers = option(2, "processes that read images; 0: none", group="Data")

    recipe: Literal["kernel_ssl", "mec", "simclr", "moco", "byol", "swav", "simsiam", "barlow_twins", "vicreg"] = (
        option("kernel_ssl", "whose settings train the linear probe (docs/probing.md)", group="Protocol")
    )
    epochs: Count | None = option(None, "passes over the training features; default the recipe's", group="Protocol")
    batch_size: Count | None = option(
        None, "of the linear probe, at most all training images; default the recipe's", group="Protocol"
    )
    lr: PositiveFloat | None = option(
        None, "for a batch of 256, times batch / 256 in use; default the recipe's", group="Protocol"
    )
    optimizer: Literal["auto", "lars", "larc", "sgd"] | None = option(
        None, "auto: LARS from 10,000 steps on, SGD below; default the recipe's", group="Protocol"
    )
    neighbours: tuple[Count, ...] = option((20, 200), "k of k-NN, one or several", group="Protocol")
    temperature: PositiveFloat = option(0.07, "of k-NN's votes, exp(cosine / temperature)", group="Protocol")

    label_fractions: tuple[Fraction, ...] = option(
        (), "shares of the labels, such as 0.01,0.1, with which the whole encoder is fine-tuned", group="Few labels"
    )
    few_epochs: Count = option(20, "passes over the labelled images", group="Few labels")
    few_batch: Count = option(256, "images of a step; at most all that are labelled", group="Few labels")
    encoder_lr: PositiveFloat = option(0.005, "peak learning rate of the encoder", group="Few labels")
    classifier_lr: PositiveFloat = option(0.5, "peak learning rate of the classifier", group="Few labels")

    device: Device = option("auto", "where to compute", group="Run")
    precision: Literal["fp32", "bf16"] = option("fp32", "of the encoder", group="Run")
    seed: Seed = option(0, "of the untrained encoder and of the probe", group="Run")
    output: PathText | None = option(None, "folder of the run; default results/runs/classify-<key>", group="Run")
    records: PathText | None = option(None, "folder of records; default results/records", group="Run")
    features: PathText | None = option(None, "folder in which features are kept; default results/features", group="Run")
    checkpoint_minutes: PositiveFloat = option(
        10.0, "minutes between checkpoints of the fine-tuning with few labels", group="Run"
    )
    dry_run: bool = option(False, "print the plan and stop", group="Run")

    def __post_init__(self) -> None:
        check_values(self)
        if not self.neighbours or len(set(self.neighbours)) < len(self.neighbours):
            raise UserError("--neighbours takes one number of neighbours or several that differ, such as 20,200.")

    @property
    def size(self) -> int:
        """Side of the centre crop in px, as resolved."""
        return self.image_size or (64 if self.data is None else 224)

    @property
    def probe(self) -> ProbeSettings:
        """Settings of the linear probe: the recipe's, with what the options change."""
        given = {"epochs": self.epochs, "batch": self.batch_size, "lr": self.lr, "optimizer": self.optimizer}
        return replace(RECIPES[self.recipe], **{name: value for name, value in given.items() if value is not None})

    def protocol(self) -> dict[str, Any]:
        """Return the settings that two comparable runs share."""
        own = {key: value for key, value in to_dict(self).items() if key in PROTOCOL_KEYS}
        return own | {"image_size": self.size, "linear_probe": asdict(self.probe)}
