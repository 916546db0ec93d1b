"""DetectionConfig: every option of a fine-tuning run, shared by coco.py and voc.py. Imports no torch."""

from dataclasses import dataclass
from typing import Literal

from benchmark.core.errors import UserError
from benchmark.core.options import check_values, option
from benchmark.core.value_types import Branch, Count, CountOrZero, Device, PathText, PositiveFloat, Seed, Workers
from transfer.evaluation.evaluators import Evaluator
from transfer.protocols.names import PROTOCOLS

FRACTIONS = (0.01, 0.02, 0.05, 0.1)
# What may differ between two calls of one run: where it runs and what it prints, not what it computes.
NOT_IDENTITY = (
    "output", "records", "record", "resume", "dry_run", "verbose", "list", "workers", "device", "data", "weights",
    "trust", "log_every", "checkpoint_every", "checkpoint_minutes",
)  # fmt: skip


@dataclass(frozen=True)
class DetectionConfig:
    """Every option of a fine-tuning run. What is None follows from the protocol, which holds all other settings."""

    weights: PathText = option(
        "random",
        "a checkpoint (any layout), or 'random' (the untrained encoder of --seed), 'detectron2-random', "
        "'torchvision:FILE', 'msra:FILE', or what is published: 'zoo:NAME' (python benchmark/zoo.py lists them), "
        "'hf:OWNER/NAME[/FILE]', 'https://...', 'torchvision:IMAGENET1K_V2'; with --eval-only a detector",
        group="Weights",
    )
    branch: Branch = option("online", "branch of a checkpoint", group="Weights")
    layout: str | None = option(
        None, "layout of a checkpoint (--list shows them); default: recognised", group="Weights"
    )
    trust: bool = option(False, "let the file run code when it is read; only if you trust its author", group="Weights")
    method: str | None = option(
        None, "pre-training method of a file that does not say it; recorded as stated by you", group="Weights"
    )
    epochs_stated: CountOrZero | None = option(
        None, "epochs of pre-training of a file that does not say them; recorded as stated by you", group="Weights"
    )

    protocol: str | None = option(
        None,
        f"{', '.join(PROTOCOLS)}, or a YAML file; default suits --data: the embedded one, C4 1x or VOC 24k",
        group="Protocol",
    )
    ims_per_batch: Count | None = option(
        None, "images in a batch over all processes; lr, steps and warm-up are rescaled", group="Protocol"
    )
    lr: PositiveFloat | None = option(
        None, "peak learning rate at the batch in use; default the protocol's", group="Protocol"
    )
    sweep_lr: tuple[PositiveFloat, ...] = option(
        (), "learning rates to choose from on a hold-out of the training images, e.g. 0.01,0.02", group="Protocol"
    )
    precision: Literal["fp32", "bf16"] | None = option(
        None, "bf16: autocast in training; default the protocol's", group="Protocol"
    )
    overrides: tuple[str, ...] = option(
        (), "Detectron2's KEY VALUE pairs, also at the end of the line", group="Protocol", positional=True,
        short="KEY VALUE",
    )  # fmt: skip

    data: PathText | None = option(None, "root in COCO's (VOC's) own layout; default the embedded set", group="Data")
    fraction: PositiveFloat | None = option(
        None, "train on this share of the images (0.01, 0.02, 0.05 or 0.1; nested, by --seed)", group="Data"
    )
    workers: Workers = option(4, "processes that read images, per training process; 0: none", group="Data")

    evaluator: Evaluator = option("hotcoco", "computes COCO's AP", group="Evaluation")
    eval_only: bool = option(False, "evaluate the detector that --weights names; train nothing", group="Evaluation")
    record: bool = option(
        False,
        "with --eval-only: write a record too (of kind 'imported' for a detector that was trained elsewhere)",
        group="Evaluation",
    )

    device: Device = option("auto", "where to compute", group="Run")
    memory_format: Literal["contiguous", "channels_last"] = option(
        "contiguous", "order of convolutions' numbers in memory; channels_last changes the order of sums alone",
        group="Run",
    )  # fmt: skip
    seed: Seed = option(0, "of heads, order, augmentation, 'random' and --fraction", group="Run")
    output: PathText | None = option(None, "folder of the run; default results/runs/<protocol>-<key>", group="Run")
    records: PathText | None = option(None, "folder of records; default results/records", group="Run")
    checkpoint_every: Count = option(1000, "iterations between checkpoints", group="Run")
    checkpoint_minutes: PositiveFloat = option(10.0, "a checkpoint is also written after these minutes", group="Run")
    log_every: Count = option(20, "iterations between lines of metrics.json and TensorBoard", group="Run")
    resume: bool = option(True, "continue the run that the folder holds; --no-resume refuses it", group="Run")
    dry_run: bool = option(False, "check everything, print the plan and stop", group="Run")
    verbose: bool = option(False, "print the options and the effective Detectron2 config too", group="Run")
    list: bool = option(False, "print the protocols and the layouts of checkpoints, and stop", group="Run")

    def __post_init__(self) -> None:
        check_values(self)
        if self.eval_only and (self.method is not None or self.epochs_stated is not None):
            raise UserError(
                "--method and --epochs-stated describe weights of pre-training; --eval-only takes a detector."
            )
        if self.fraction is not None and self.fraction not in FRACTIONS:
            raise UserError(f"--fraction is {self.fraction}; it is one of {', '.join(map(str, FRACTIONS))}.")
        if self.sweep_lr and (self.lr is not None or "SOLVER.BASE_LR" in self.overrides):
            raise UserError("--sweep-lr and a learning rate are both given; give the one learning rate or the grid.")
        if self.sweep_lr and len(set(self.sweep_lr)) < 2:
            raise UserError("--sweep-lr needs at least two different numbers above 0, such as 0.01,0.02,0.05.")
        if self.eval_only and (self.sweep_lr or self.fraction):
            raise UserError("--eval-only trains nothing; leave out --sweep-lr and --fraction.")
        if self.record and not self.eval_only:
            raise UserError("--record belongs to --eval-only; a run that trains always writes its record.")
