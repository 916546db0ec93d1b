"""PretrainConfig: one frozen object with every knob of pre-training; the paper's defaults. Imports no torch."""

import math
from dataclasses import dataclass, fields

from benchmark.core.errors import UserError
from benchmark.core.options import check_choices, option, to_dict
from pretrain.loss_options import ALIGNMENTS, KERNELS, LOGARITHMS, UNIFORMITIES, LossOptions

METHODS = ("kernel_ssl",)
ARCHITECTURES = ("resnet18", "resnet50")
BASE_BATCH = 256  # the learning rate is given for this batch and scaled linearly
MAX_LR = 3e38  # float32's range
# What may differ between the parts of one run: they change where it runs and what it prints, not what it computes.
# The path of the images may differ too: the images themselves are part of the identity.
NOT_IDENTITY = (
    "data", "output", "records", "resume", "dry_run", "images_per_second", "workers", "log_every", "device",
    "keep_every", "keep_epochs", "checkpoint_minutes", "diagnose_every",
)  # fmt: skip


@dataclass(frozen=True)
class PretrainConfig:
    """Every knob of a pre-training run. Defaults are those of the released ImageNet recipe (method.md, "Recipe").

    ``recipes/embedded.yaml`` replaces some when no --data is given. ``lr`` is for a batch of 256 and is scaled once,
    where the optimiser is made; it is never written back.
    """

    epochs: int = option(400, "length of training, in epochs; all schedules depend on it", group="Schedule")
    warmup_epochs: float | None = option(
        None, "linear warm-up from 0, in epochs; default 10, or a tenth of a shorter run", group="Schedule"
    )
    lr: float = option(0.5, "peak learning rate for a batch of 256; times batch / 256 in use", group="Schedule")
    ema: float = option(0.996, "momentum of the momentum branch at the start; cosine to 1", group="Schedule")

    data: str | None = option(
        None, "image folder (class folders or flat, searched recursively); default embedded photographs", group="Data"
    )
    images: int | None = option(
        None, "use this many images, evenly spaced (embedded: compose this many); default all", group="Data"
    )
    image_size: int = option(224, "side of a view, in px", group="Data")
    batch_size: int = option(1024, "images in a batch over all processes", group="Data")
    micro_batch: int | None = option(
        None, "images in memory at a time, per process (gradient caching); default the whole batch", group="Data"
    )
    views: str = option("fast", "engine of the views", group="Data", choices=("fast", "reference"))
    workers: int = option(8, "processes that prepare views, per training process; 0: none", group="Data")

    method: str = option("kernel_ssl", "pre-training method", group="Method", choices=METHODS)
    arch: str = option("resnet50", "encoder", group="Method", choices=ARCHITECTURES)
    projector_width: int = option(2048, "outputs of projector and predictor", group="Method")
    projector_hidden: int = option(2048, "hidden units of the projector", group="Method")
    predictor_hidden: int = option(512, "hidden units of the predictor", group="Method")
    mu: float = option(1.0, "regulariser of the matrix logarithm, >= 0", group="Loss")
    lam: float = option(1.0, "weight of the identity in uniformity", group="Loss")
    gamma: float = option(1.0, "weight of alignment against uniformity (docs/loss.md)", group="Loss")
    taylor_order: int = option(4, "order of the Taylor logarithm, >= 1", group="Loss")
    logarithm: str = option("taylor", "matrix logarithm", group="Loss", choices=LOGARITHMS)
    uniformity: str = option("mce", "uniformity term", group="Loss", choices=UNIFORMITIES)
    alignment: str = option("mce", "alignment term", group="Loss", choices=ALIGNMENTS)
    trace_term: bool = option(False, "add the tr(Q) that the released code leaves out", group="Loss")
    hsic_weight: float = option(0.0, "weight of the HSIC addition (first released version: 0.003)", group="Loss")
    kernel: str = option("linear", "kernel of the covariance operators", group="Loss", choices=KERNELS)
    bandwidth: float | None = option(None, "of rbf and laplace; default the median rule", group="Loss")
    degree: int = option(2, "of the polynomial kernel", group="Loss")

    optimizer: str = option("sgd", "optimiser, momentum 0.9", group="Optimiser", choices=("sgd", "lars"))
    weight_decay: float = option(1e-5, "L2 penalty (LARS: not on biases and BN)", group="Optimiser")

    device: str = option("auto", "where to compute", group="Run", choices=("auto", "cpu", "cuda"))
    precision: str = option(
        "bf16", "of the network; the loss is float32", group="Run", choices=("fp32", "bf16", "fp16")
    )
    seed: int = option(0, "of weights, order and views", group="Run")
    output: str | None = option(None, "folder of the run; default results/runs/<method>-<key>", group="Run")
    records: str | None = option(None, "folder of records; default results/records", group="Run")
    keep_every: int = option(0, "keep a numbered checkpoint every N epochs; 0: none", group="Run")
    keep_epochs: tuple[int, ...] = option(
        (), "keep a numbered checkpoint after these epochs, e.g. 100,400", group="Run"
    )
    checkpoint_minutes: float = option(
        10.0, "minutes after which the last checkpoint is also written within an epoch", group="Run"
    )
    diagnose_every: int = option(
        0, "epochs between entries of diagnostics.json (ranks, spectrum, geometry); 0: none", group="Run"
    )
    log_every: int = option(10, "iterations between lines of metrics.json and TensorBoard", group="Run")
    resume: bool = option(True, "continue the run that the folder holds; --no-resume refuses it", group="Run")
    dry_run: bool = option(False, "print the plan and stop", group="Run")
    images_per_second: float | None = option(None, "speed for --dry-run's hours; default: measured", group="Run")

    def __post_init__(self) -> None:
        check_choices(self)
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UserError(f"--{name.replace('_', '-')} is {value}; it must be above 0.")
        for name in ("workers", "keep_every", "diagnose_every", "weight_decay", "seed"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise UserError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be 0 or more.")
        if not 0 <= self.ema <= 1:
            raise UserError(f"--ema is {self.ema}; it must lie between 0 and 1.")
        if self.scaled_lr > MAX_LR:
            raise UserError(f"--lr is {self.lr:g}, times batch / 256 more than float32 holds; give a smaller one.")
        if self.batch_size < 2:
            raise UserError("--batch-size is 1; the loss compares images, so give at least 2.")
        if self.warmup_epochs is not None and not 0 <= self.warmup_epochs < self.epochs:
            raise UserError(
                f"--warmup-epochs {self.warmup_epochs:g} does not fit in --epochs {self.epochs}; give a shorter "
                "warm-up or leave it out."
            )
        if late := [epoch for epoch in self.keep_epochs if not 0 < epoch <= self.epochs]:
            raise UserError(f"--keep-epochs names {late[0]}, but the run has epochs 1 to {self.epochs}.")
        self.loss_options()

    def loss_options(self) -> LossOptions:
        """Return the options of the loss; raises ``UserError`` for combinations that make no sense."""
        return LossOptions(**{field.name: getattr(self, field.name) for field in fields(LossOptions)})

    @property
    def warmup(self) -> float:
        """Length of the warm-up in epochs, as resolved."""
        return min(10.0, self.epochs / 10) if self.warmup_epochs is None else self.warmup_epochs

    @property
    def scaled_lr(self) -> float:
        """Peak learning rate in use: lr * batch / 256."""
        return self.lr * self.batch_size / BASE_BATCH

    def identity(self, images: object) -> dict[str, object]:
        """Return what makes the run this run: every setting that changes its result, and `images`, which tells the
        images from others (``PathList.identity``)."""
        settings = {key: value for key, value in to_dict(self).items() if key not in NOT_IDENTITY}
        return {"script": "pretrain", "config": settings, "images": images}


_POSITIVE = (
    "epochs", "lr", "images", "image_size", "batch_size", "micro_batch", "projector_width", "projector_hidden",
    "predictor_hidden", "log_every", "images_per_second", "checkpoint_minutes",
)  # fmt: skip
