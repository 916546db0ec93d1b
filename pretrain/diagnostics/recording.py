"""Diagnostics over training: every so many epochs, on the same sample of images, into ``diagnostics.json``."""

import json
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import HookBase
from torch import Tensor

from benchmark.core.files import write_json
from pretrain.diagnostics.measures import measure
from pretrain.diagnostics.sample import AUGMENTATION, extract, make_sample
from pretrain.images.loading import normalised

FILE = "diagnostics.json"
IMAGES, VIEWS = 512, 2  # looked at each time: some seconds on a CPU


class RecordDiagnostics(HookBase):
    """Writes the measures of backbone and projector (``pretrain.diagnostics.measures``) after every `every` epochs.

    The file holds ``images`` (count, fingerprint, augmentation of the views) and ``epochs``: {"10": {layer: measures}}.
    The encoder is looked at in eval mode and left as it was, and random numbers are of the sample's own, so the run's
    result does not change. An epoch that is repeated after a kill replaces its entry. For the main process.

    Args:
        folder: of the run.  every: epochs between two entries; the last epoch has one too.
    """

    def __init__(self, folder: Path, every: int):
        self.path, self.every = folder / FILE, every

    def before_train(self) -> None:
        config = self.trainer.config
        self.sample = make_sample(self.trainer.paths, IMAGES, config.image_size, VIEWS, seed=0)
        self.recipe = config.augmentation.recipes()[0]

    def after_step(self) -> None:
        trainer = self.trainer
        if trainer.iteration % trainer.iterations_per_epoch:
            return
        if trainer.epoch % self.every and trainer.epoch != trainer.config.epochs:
            return
        found = extract(self.sample, self.encode, show=False)
        entry = {name: measure(layer, replicates=0) for name, layer in found.layers.items()}
        images = self.sample.paths.identity() | {"views": VIEWS, "augmentation": AUGMENTATION}
        epochs = {epoch: old for epoch, old in self._earlier().items() if int(epoch) < trainer.epoch}
        write_json(self.path, {"images": images, "epochs": epochs | {str(trainer.epoch): entry}})

    def encode(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return the features of both layers for (b, S, S, 3) uint8 pixels."""
        method, device = self.trainer.method, self.trainer.device
        batch = normalised(pixels, device, self.recipe.mean, self.recipe.std)
        modes = [(module, module.training) for module in method.modules()]
        method.eval()
        try:
            with torch.no_grad():
                encoded = method.encode((batch,) * method.views)  # in eval mode further views change nothing
        finally:
            for module, training in modes:
                module.training = training
        layers = {"backbone": encoded.features}
        return layers if encoded.projection is None else layers | {"projector": encoded.projection}

    def _earlier(self) -> dict[str, Any]:
        """Return the entries that the file holds; none where there is no file or a damaged one."""
        try:
            epochs = json.loads(self.path.read_text(encoding="utf-8"))["epochs"]
            return {str(int(epoch)): entry for epoch, entry in epochs.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
