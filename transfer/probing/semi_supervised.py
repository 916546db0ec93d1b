"""Semi-supervised fine-tuning: the whole encoder, trained on the labels of 1 % or 10 % of the training images.

The subset is chosen by the seed, balanced over the classes, and recorded by the names of its images. Encoder and
classifier have learning rates of their own, as in Barlow Twins' and VICReg's evaluation (evaluate.py of both: SGD with
momentum 0.9, batch 256, 20 epochs, cosine to 0 per iteration, no weight decay, 0.005 for the encoder and 0.5 for the
classifier with 1 % of ImageNet's labels). Views are random crops and flips; the test takes centre crops.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from pretrain.engine.account import Account
from pretrain.engine.checkpoint import check_content, check_optimiser, continue_from
from pretrain.engine.failures import Diverged
from pretrain.engine.hooks import Agreement, Checkpoints, Metrics, ProgressBar
from pretrain.engine.loop import TrainingLoop
from pretrain.images.listing import PathList
from pretrain.images.loading import make_loader, normalised
from pretrain.images.recipe import ViewRecipe, ViewSettings
from transfer.probing.splits import LabelledImages

MOMENTUM = 0.9
CROPS = ViewRecipe(crop_scale=(0.08, 1.0), jitter_p=0.0, gray_p=0.0, blur_p=0.0)  # torchvision's training crops


@dataclass(frozen=True)
class FineTuneSettings:
    """Of the fine-tuning: passes over the subset, images of a step, and the two peak learning rates in use."""

    epochs: int = 20
    batch: int = 256
    encoder_lr: float = 0.005
    classifier_lr: float = 0.5


def balanced_subset(images: LabelledImages, share: float, classes: int, seed: int) -> LabelledImages:
    """Return `share` of the images, in (0, 1], chosen by `seed`: as many of each class, and at least one of each.

    A class with fewer images than the others' part gives all that it has. Smaller shares lie inside larger ones.
    """
    of_each = max(1, round(share * len(images.paths) / classes))
    generator = np.random.default_rng(np.random.SeedSequence((seed, 37)))
    chosen = []
    for label in range(classes):
        rows = np.flatnonzero(images.labels == label)
        chosen += generator.permutation(rows)[:of_each].tolist()
    chosen.sort()
    everything = names_of(images)
    paths = PathList(images.paths.root, [everything[i] for i in chosen])
    return LabelledImages(f"{images.name}, {share:.3g} of the labels", paths, images.labels[chosen])


def names_of(images: LabelledImages) -> list[str]:
    """Return the names of the images below their split's folder, for a record."""
    return [os.path.relpath(images.paths[i], images.paths.root) for i in range(len(images.paths))]


class ClassifierTrainer(TrainingLoop):
    """Trains an encoder with a linear classifier on its output.

    Args:
        encoder: (B, 3, S, S) -> (B, d).  width: d.
        images: to train on.  classes: number of classes.
        settings: see ``FineTuneSettings``; the batch is capped by the number of images.
        size: side of a crop, in px.  seed: of classifier, order and crops.
    """

    def __init__(
        self,
        encoder: nn.Module,
        width: int,
        images: LabelledImages,
        classes: int,
        settings: FineTuneSettings,
        *,
        size: int,
        seed: int,
        workers: int,
        device: torch.device,
    ):
        self.batch = min(settings.batch, len(images.paths))
        super().__init__(settings.epochs * (len(images.paths) // self.batch), 20, self.batch)
        torch.manual_seed(seed)
        classifier = nn.Linear(width, classes)
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(classifier.bias)
        self.model = nn.Sequential(encoder, classifier).to(device, memory_format=torch.channels_last)
        self.images, self.size, self.seed, self.workers, self.device = images, size, seed, workers, device
        groups = [
            {"params": list(encoder.parameters()), "lr": settings.encoder_lr},
            {"params": list(classifier.parameters()), "lr": settings.classifier_lr},
        ]
        self.optimiser = torch.optim.SGD(groups, momentum=MOMENTUM)
        self.settings = [dict(group) for group in self.optimiser.param_groups]
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, self.max_iter)
        self.loss, self.lr = 0.0, settings.classifier_lr

    def before_train(self) -> None:
        """Start the loader at the first iteration of this part of the run."""
        views = ViewSettings(recipes=(CROPS,), image_size=self.size)
        self._batches = iter(
            make_loader(
                self.images.paths, views, batch_size=self.batch, seed=self.seed, workers=self.workers,
                start_iteration=self.start_iter, total_iterations=self.max_iter, labels=self.images.labels,
            )
        )  # fmt: skip
        self.model.train()
        super().before_train()

    def run_step(self) -> None:
        """Take one step. Raises ``Diverged`` when the loss is not finite."""
        batch = next(self._batches)
        self.lr = float(self.optimiser.param_groups[1]["lr"])
        scores = self.model(normalised(batch.views[0], self.device))
        loss = F.cross_entropy(scores, batch.labels.to(self.device))
        self.loss = float(loss.detach())
        if not np.isfinite(self.loss):
            raise Diverged("loss of the fine-tuning with few labels", self.iteration, self.lr)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.scheduler.step()

    def scalars(self) -> dict[str, float]:
        """Return what metrics.json keeps of the last step."""
        return {"loss": self.loss, "lr": self.lr}

    def shown(self) -> dict[str, str]:
        """Return what the progress bar shows of the last step."""
        return {"loss": f"{self.loss:.3f}", "lr": f"{self.lr:.3g}"}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds after a completed step."""
        parts = {"model": self.model, "optimizer": self.optimiser, "scheduler": self.scheduler}
        return {**super().state(), **{name: part.state_dict() for name, part in parts.items()}}

    def load_state(self, content: dict[str, Any]) -> int:
        """Take over what ``state`` returned; return the iteration to go on with."""
        self.model.load_state_dict(content["model"])
        self.optimiser.load_state_dict(content["optimizer"])
        self.scheduler.load_state_dict(content["scheduler"])
        return super().load_state(content)


def fine_tune_classifier(
    trainer: ClassifierTrainer, folder: Path, what: str, account: Account, minutes: float
) -> nn.Module:
    """Train in `folder` from its last checkpoint or the start; return the model, in eval mode.

    Args:
        trainer: as it was made.  folder: of this training, beside which nothing else is written.
        what: title of the progress bar.  account: of the run.  minutes: from one checkpoint to the next.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trainer.register_hooks([Agreement(lambda done: done == trainer.max_iter, minutes)])

    def take_over(content: dict[str, Any]) -> int:
        check_content(content, trainer.model.state_dict(), trainer.max_iter)
        iteration = trainer.load_state(content)
        check_optimiser(trainer.optimiser, trainer.settings)
        return iteration

    start = continue_from(folder, take_over)
    trainer.register_hooks([Metrics(folder), ProgressBar(what), Checkpoints(folder, account, {})])
    if start < trainer.max_iter:
        trainer.train(start, trainer.max_iter)
    return trainer.model.eval()
