"""PretrainConfig: one frozen object with every knob of a pre-training run. Imports no torch.

What belongs to a method (heads, temperature, queue ...) is a dataclass of its own in the method's file and stands in
``options``; on the command line and in files of options it stands among the others.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from benchmark.core.errors import UserError
from benchmark.core.options import check_values, option, part, to_dict
from benchmark.core.value_types import (
    LARGEST_FLOAT32,
    Architecture,
    Count,
    CountOrZero,
    Device,
    NonNegativeFloat,
    PathText,
    PositiveFloat,
    Seed,
    UnitInterval,
    Workers,
)
from pretrain.images.options import ViewOptions
from pretrain.methods.registry import method_class, method_names

BASE_BATCH = 256  # the learning rate is given for this batch
# What may differ between the parts of one run: they change where it runs and what it prints, not what it computes.
# The path of the images may differ too: the images themselves are part of the identity.
NOT_IDENTITY = (
    "data", "output", "records", "resume", "dry_run", "images_per_second", "workers", "log_every", "device",
    "keep_every", "keep_epochs", "checkpoint_minutes", "diagnose_every",
)  # fmt: skip
# Options that earlier versions did not have, with what those versions did: such a run is theirs, and goes on.
ADDED = {"compile": False, "crop_ratio": [3 / 4, 4 / 3], "blur_sigma": [0.1, 2.0], "flip_p": 0.5}

Side = Annotated[int, Field(gt=0, le=4096)]
BatchSize = Annotated[int, Field(ge=2, le=2**20, description="2 or more, since methods compare images")]


@dataclass(frozen=True)
class MethodOptions:
    """What can be chosen about one method; each method has a subclass in its file, whose fields become flags."""

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True)
class PretrainConfig:
    """Every knob of a pre-training run; what a recipe does not say has these defaults.

    ``lr`` is for a batch of 256 and is scaled once, where the schedule is made; it is never written back.
    """

    epochs: Count = option(400, "length of training, in epochs; all schedules depend on it", group="Schedule")
    warmup_epochs: NonNegativeFloat | None = option(
        None, "warm-up of the learning rate, in epochs; default 10, or a tenth of a shorter run", group="Schedule"
    )
    warmup_rule: Literal["linspace", "ratio"] = option(
        "linspace", "whether the last step of the warm-up reaches the peak, or the first after it", group="Schedule"
    )
    warmup_lr: NonNegativeFloat = option(0.0, "learning rate in use at the first step of the warm-up", group="Schedule")
    lr: PositiveFloat = option(0.5, "peak learning rate, before it is scaled with the batch", group="Schedule")
    lr_scaling: Literal["linear", "sqrt", "none"] = option(
        "linear", "times batch / 256, times the root of the batch, or as it is", group="Schedule"
    )
    lr_schedule: Literal["cosine", "steps"] = option("cosine", "shape of the learning rate", group="Schedule")
    lr_drops: tuple[UnitInterval, ...] = option(
        (), "shares of the run after which 'steps' divides the learning rate by 10", group="Schedule"
    )
    lr_final: UnitInterval = option(0.0, "where 'cosine' ends, as a share of the peak", group="Schedule")
    lr_changes: Literal["step", "epoch"] = option(
        "step", "whether the learning rate changes at every step or once an epoch", group="Schedule"
    )

    data: PathText | None = option(
        None,
        "folder of images (class folders or flat, any depth) or of .tar shards, a pattern DIR/train-{000..146}.tar, or "
        "an address (s3://, https:// ...); default embedded photographs",
        group="Data",
    )
    images: Count | None = option(
        None, "use this many images, evenly spaced (embedded: compose this many); default all", group="Data"
    )
    image_size: Side = option(224, "side of a view, in px", group="Data")
    batch_size: BatchSize = option(1024, "images in a batch over all processes", group="Data")
    micro_batch: Count | None = option(
        None, "images in memory at a time, per process (gradient caching); default the whole batch", group="Data"
    )
    workers: Workers = option(8, "processes that prepare views, per training process; 0: none", group="Data")
    views: Literal["fast", "reference", "gpu"] = option(
        "reference", "engine of the views; gpu decodes JPEGs and makes views on the training's device", group="Views"
    )
    augmentation: ViewOptions = part(ViewOptions)

    method: str = option("kernel_ssl", f"pre-training method ({' | '.join(method_names())})", group="Method")
    arch: Architecture = option("resnet50", "encoder", group="Method")
    zero_init: bool = option(True, "let the last norm of every residual branch begin at zero", group="Method")
    options: MethodOptions = part(MethodOptions)

    optimizer: Literal["sgd", "lars", "lars_classic", "larc"] = option(
        "sgd", "optimiser, momentum 0.9; lars_classic has the learning rate inside the momentum", group="Optimiser"
    )
    weight_decay: NonNegativeFloat = option(1e-5, "L2 penalty (LARS: not on biases and BN)", group="Optimiser")

    device: Device = option("auto", "where to compute", group="Run")
    precision: Literal["fp32", "bf16", "fp16"] = option("fp32", "of the network; the loss is float32", group="Run")
    compile: bool = option(
        False, "let torch.compile translate the encoder: minutes before the first step, faster ones after", group="Run"
    )
    seed: Seed = option(0, "of weights, order and views", group="Run")
    output: PathText | None = option(None, "folder of the run; default results/runs/<method>-<key>", group="Run")
    records: PathText | None = option(None, "folder of records; default results/records", group="Run")
    keep_every: CountOrZero = option(0, "keep a numbered checkpoint every N epochs; 0: none", group="Run")
    keep_epochs: tuple[int, ...] = option(
        (), "keep a numbered checkpoint after these epochs, e.g. 100,400", group="Run"
    )
    checkpoint_minutes: PositiveFloat = option(
        10.0, "minutes after which the last checkpoint is also written within an epoch", group="Run"
    )
    diagnose_every: CountOrZero = option(
        0, "epochs between entries of diagnostics.json (ranks, spectrum, geometry); 0: none", group="Run"
    )
    log_every: Count = option(10, "iterations between lines of metrics.json and TensorBoard", group="Run")
    resume: bool = option(True, "continue the run that the folder holds; --no-resume refuses it", group="Run")
    dry_run: bool = option(False, "print the plan and stop", group="Run")
    images_per_second: PositiveFloat | None = option(
        None, "speed for --dry-run's hours; default: measured", group="Run"
    )

    def __post_init__(self) -> None:
        check_values(self)
        if self.scaled(self.lr) > LARGEST_FLOAT32:
            raise UserError(f"--lr is {self.lr:g}, scaled with the batch more than float32 holds; give a smaller one.")
        if self.warmup_epochs is not None and not 0 <= self.warmup_epochs < self.epochs:
            raise UserError(
                f"--warmup-epochs {self.warmup_epochs:g} does not fit in --epochs {self.epochs}; give a shorter "
                "warm-up or leave it out."
            )
        if self.lr_schedule == "steps" and list(self.lr_drops) != sorted(set(self.lr_drops)):
            raise UserError(f"--lr-drops {','.join(map(str, self.lr_drops))} must ascend.")
        if self.lr_schedule != "steps" and self.lr_drops:
            given = ",".join(map(str, self.lr_drops))
            raise UserError(
                f"--lr-drops {given} has no effect with --lr-schedule cosine; give --lr-schedule steps, or --lr-drops "
                "'' if the drops are the recipe's."
            )
        if self.warmup and self.warmup_lr > self.scaled_lr:
            raise UserError(
                f"--warmup-lr {self.warmup_lr:g} is above the peak {self.scaling_words}, so the warm-up would descend; "
                "give a smaller one."
            )
        if late := [epoch for epoch in self.keep_epochs if not 0 < epoch <= self.epochs]:
            raise UserError(f"--keep-epochs names {late[0]}, but the run has epochs 1 to {self.epochs}.")

    @property
    def warmup(self) -> float:
        """Length of the warm-up in epochs, as resolved."""
        return min(10.0, self.epochs / 10) if self.warmup_epochs is None else self.warmup_epochs

    def scaled(self, lr: float) -> float:
        """Return a learning rate as it is used with this batch."""
        if self.lr_scaling == "none":
            return lr
        return lr * (self.batch_size / BASE_BATCH if self.lr_scaling == "linear" else math.sqrt(self.batch_size))

    @property
    def scaled_lr(self) -> float:
        """Peak learning rate in use."""
        return self.scaled(self.lr)

    @property
    def scaling_words(self) -> str:
        """The peak learning rate as a sum, such as ``0.5 x 1024/256 = 2``."""
        by = {"linear": f" x {self.batch_size}/256", "sqrt": f" x root of {self.batch_size}", "none": ""}
        return f"{self.lr:g}{by[self.lr_scaling]} = {self.scaled_lr:g}"

    def identity(self, images: object) -> dict[str, Any]:
        """Return what makes the run this run: every setting that changes its result, and `images`, which tells the
        images from others (``Images.identity``)."""
        settings = {key: value for key, value in to_dict(self).items() if key not in NOT_IDENTITY}
        for name, value in ADDED.items():
            if settings[name] == value:
                del settings[name]
        return {"script": "pretrain", "config": settings, "images": images}


def make_config(method: str = "kernel_ssl", **values: Any) -> PretrainConfig:
    """Return a config from flat values, those of the run, of its views and of the method mixed, as a recipe has them.

    What is not given has the dataclasses' defaults, not a recipe's; lists are taken as tuples.

    Raises:
        UserError: an option that neither the run nor the method has, or a value that one cannot have.
    """
    kinds = {"augmentation": ViewOptions, "options": method_class(method).Options}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    parts = {
        part: kind(**{name: values.pop(name) for name in list(values) if name in kind.__dataclass_fields__})
        for part, kind in kinds.items()
    }
    if unknown := [name for name in values if name not in PretrainConfig.__dataclass_fields__]:
        raise UserError(f"pre-training by {method} has no option {unknown[0]!r}.")
    return PretrainConfig(method=method, **values, **parts)
