"""Every method in a size for tests: whatever options of these names it has are made small.

The example of docs/adding_a_method.md is tested beside the registered ones, in the way its reader would have it tested.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

import pretrain.methods
import pretrain.recipes
from benchmark.core.folder import ROOT
from pretrain.methods.base import Method, Progress
from pretrain.methods.registry import make_method, method_class, method_names
from pretrain.training.config import PretrainConfig, make_config
from pretrain.training.recipe import released

EXAMPLES = ROOT / "docs" / "examples"
METHODS = (*method_names(), "tico")
BATCH, SIDE, CLASSES = 8, 32, 3
SIZES: dict[str, Any] = {
    "projector_width": 16,
    "projector_hidden": 24,
    "predictor_hidden": 12,
    "queue_size": 16,
    "queue_epochs": 0.0,
    "prototypes": 6,
    "frozen_iterations": 0,
}


def register_example_for(patch: pytest.MonkeyPatch) -> None:
    """Register the example for one test; `patch` puts the packages back afterwards."""
    for package in (pretrain.methods, pretrain.recipes):
        patch.setattr(package, "__path__", list(package.__path__))
    register_example()


def register_example() -> None:
    """Let the example be found as if its file were copied to pretrain/methods/ and its recipe to pretrain/recipes/."""
    for package in (pretrain.methods, pretrain.recipes):
        package.__path__ = [*package.__path__, str(EXAMPLES)]


def small_options(method: str) -> dict[str, Any]:
    """Return the sizes that this method has."""
    return {name: size for name, size in SIZES.items() if name in method_class(method).Options.__dataclass_fields__}


def small_config(method: str, **changes: Any) -> PretrainConfig:
    """Return a config of a small run by the method's optimiser and views."""
    recipe = released(method)
    kept = {name: recipe[name] for name in ("optimizer", "blur_p", "solarize_p")}
    run = {"arch": "resnet18", "image_size": SIDE, "batch_size": BATCH, "epochs": 2, "workers": 0, "views": "fast"}
    return make_config(**{"method": method, **run, **kept, **small_options(method), **changes})


def small_method(method: str, **changes: Any) -> Method:
    """Return the small method, in train mode."""
    config = small_config(method, **changes)
    return make_method(config, CLASSES if method_class(method).needs_labels else 0).train()


def in_float64(method: Method) -> Method:
    """Return the method with its network in float64: what differs then is no rounding. Rows and loss stay float32."""
    for part in method.children():
        part.double()
    return method


def remembered(method: Method) -> dict[str, Tensor]:
    """Return the buffers that are no running statistics: queues, covariances, whatever a method keeps."""
    buffers = method.named_buffers()
    return {f"buffer {name}": value for name, value in buffers if not name.endswith(("_mean", "_var", "_tracked"))}


def batch(method: Method, images: int = BATCH, seed: int = 0) -> tuple[list[Tensor], Tensor | None]:
    """Return the views of a batch and its labels, the same for every call: views of an image resemble each other."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(images, 3, SIDE, SIDE, generator=generator)
    views = [image + 0.3 * torch.randn(image.shape, generator=generator) for _ in range(method.views)]
    labels = torch.arange(images) % CLASSES if method.needs_labels else None
    return views, labels


def progress(iteration: int = 0) -> Progress:
    """Return where a run of 20 iterations stands, 10 an epoch."""
    return Progress(iteration, 20, 10)


def loss_of(method: Method, views: list[Tensor], labels: Tensor | None) -> Tensor:
    """Return the loss of a batch on one process."""
    rows = [rows.float() for rows in method.encode(views).rows]
    return method.loss(rows, method.target(views), labels).total
