"""Settings of the linear probe, and those that the methods' own code trains it with on ImageNet."""

import math
from dataclasses import dataclass

BASE_BATCH = 256  # the learning rate is given for this batch
LARS_ITERATIONS = 10_000


@dataclass(frozen=True)
class ProbeSettings:
    """Of the linear probe; the defaults are those of Kernel-SSL's released code for ImageNet.

    Attributes:
        epochs: passes over the training features.
        batch: rows of a step, capped by the data; the rows of an epoch that fill no batch wait for the next one.
        lr: peak for a batch of 256, scaled by the batch in use / 256; no warm-up.
        optimizer: ``lars``, ``larc``, ``sgd`` or ``auto``; momentum 0.9. LARS, which Kernel-SSL uses, moves the weights
            by a thousandth of lr times their length in a step, so that a short probe ends where it began (25 % against
            35 % by SGD on 3,068 photographs, 100 epochs). ``auto`` takes it from 10,000 steps on, SGD below.
        nesterov: of SGD.  weight_decay: L2.
        norm: whether the features pass a batch norm without affine parameters first.
        falls_at: epochs after which the learning rate is divided by 10; without any it follows a cosine to 0.
        per_epoch: whether the cosine moves once an epoch and not with every step.
    """

    epochs: int = 100
    batch: int = 4096
    lr: float = 0.03
    optimizer: str = "auto"
    nesterov: bool = False
    weight_decay: float = 0.0
    norm: bool = True
    falls_at: tuple[int, ...] = ()
    per_epoch: bool = False

    def batch_for(self, samples: int) -> int:
        """Return the batch in use for that many training rows."""
        return min(self.batch, samples)

    def iterations_for(self, samples: int) -> int:
        """Return the steps of the whole probe."""
        return self.epochs * (samples // self.batch_for(samples))

    def optimizer_for(self, samples: int) -> str:
        """Return the optimiser in use."""
        if self.optimizer != "auto":
            return self.optimizer
        return "lars" if self.iterations_for(samples) >= LARS_ITERATIONS else "sgd"

    def lr_for(self, samples: int) -> float:
        """Return the peak learning rate in use."""
        return self.lr * self.batch_for(samples) / BASE_BATCH

    def lr_share(self, epoch: int, within: float) -> float:
        """Return the share of the peak learning rate in an epoch (from 0), `within` of which (0 to 1) is over."""
        if self.falls_at:
            return 0.1 ** sum(epoch >= end for end in self.falls_at)
        progress = (epoch + (0.0 if self.per_epoch else within)) / self.epochs
        return (1 + math.cos(math.pi * progress)) / 2


# Of the released code; where the paper says otherwise, the comment does. The papers feed random crops and flips to the
# encoder; here the same settings train on features of centre crops.
RECIPES = {
    "kernel_ssl": ProbeSettings(),
    # mec benchmarks/linearprob/main_lincls.py:45-59, 165, 194, 239, 348, 499
    "mec": ProbeSettings(optimizer="larc", per_epoch=True),
    # simclr README:137-144, model_util.py:88-90
    "simclr": ProbeSettings(90, 4096, 0.1, "sgd", nesterov=True, weight_decay=1e-6, norm=False),
    # moco main_lincls.py:55-94, 236, 439: 30, and a tenth of it from epochs 60 and 80 on
    "moco": ProbeSettings(100, 256, 30.0, "sgd", norm=False, falls_at=(60, 80)),
    # deepmind-research byol/configs/eval.py:29-45; the paper chooses among 0.05 to 0.4 on 10,009 training images
    "byol": ProbeSettings(80, 1024, 0.2, "sgd", nesterov=True, norm=False),
    # swav eval_linear.py:56-75, 170-187
    "swav": ProbeSettings(100, 256, 0.3, "sgd", weight_decay=1e-6, norm=False),
    # simsiam main_lincls.py:44-58, 188, 232, 491-493; the paper has 0.02
    "simsiam": ProbeSettings(90, 4096, 0.1, "larc", norm=False, per_epoch=True),
    # barlowtwins evaluate.py:35-43, 103-104, 157
    "barlow_twins": ProbeSettings(100, 256, 0.3, "sgd", weight_decay=1e-6, norm=False, per_epoch=True),
    # vicreg evaluate.py:58-83, 167-168 with the README's learning rate
    "vicreg": ProbeSettings(100, 256, 0.02, "sgd", weight_decay=1e-6, norm=False, per_epoch=True),
}
