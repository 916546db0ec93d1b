"""Recipes: the files ``pretrain/recipes/<method>_imagenet.yaml`` and ``<method>_embedded.yaml``. Imports no torch.

The first holds every value of the method's released ImageNet run with its source; the second what changes for the
embedded photographs on a laptop. They are the defaults of a run with --data and of one without.
"""

import math
from pathlib import Path
from typing import Any

import pretrain.recipes
from benchmark.core.errors import UserError
from benchmark.core.options import load_yaml, to_dict
from pretrain.training.config import NOT_IDENTITY, PretrainConfig

SMALL = {  # of a method without a recipe for the embedded photographs
    "epochs": 2, "images": 6000, "image_size": 48, "batch_size": 64, "warmup_epochs": None, "views": "fast",
    "precision": "bf16", "workers": 0, "log_every": 5,
}  # fmt: skip
PRESETS = "by_epochs"  # {length in epochs: values}
# What a recipe cannot hold and a comparison with the released run leaves out.
NOT_RECIPE = {*NOT_IDENTITY, "seed", "epochs", "method", "compile"}


def recipe_file(method: str, kind: str) -> Path | None:
    """Return the path of a method's recipe, None where there is none; `kind` is ``imagenet`` or ``embedded``."""
    paths = (Path(folder) / f"{method}_{kind}.yaml" for folder in pretrain.recipes.__path__)
    return next((path for path in paths if path.is_file()), None)


def read_imagenet(method: str) -> dict[str, Any]:
    """Return a method's ImageNet recipe as its file has it. Raises ``UserError`` where there is none."""
    path = recipe_file(method, "imagenet")
    if path is None:
        raise UserError(
            f"--method {method} has no recipe; write {Path(pretrain.recipes.__path__[0])}/{method}_imagenet.yaml."
        )
    return load_yaml(path)


def check_presets(content: dict[Any, Any], path: str) -> None:
    """Raise ``UserError`` where a file's values by length (``by_epochs``) are no mapping of lengths to values."""
    presets = content.get(PRESETS, {})
    lengths = presets if isinstance(presets, dict) else {}
    plain = all(
        type(length) is int and 0 < length < 2**31 and isinstance(values, dict) for length, values in lengths.items()
    )
    if not isinstance(presets, dict) or not plain:
        raise UserError(
            f"{path}: {PRESETS} must give, for lengths in whole epochs, options with their values, such as "
            "{100: {lr: 0.3}, 1000: {lr: 0.2}}."
        )


def with_preset(values: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Return a recipe's values for a run of `epochs`: those of the preset whose length is nearest in ratio, if any."""
    presets = values.get(PRESETS, {})
    plain = {name: value for name, value in values.items() if name != PRESETS}
    if not presets:
        return plain
    return plain | presets[min(presets, key=lambda length: abs(math.log(length / epochs)))]


def released(method: str, epochs: int | None = None) -> dict[str, Any]:
    """Return all values of a method's released ImageNet run, of the recipe's own length or of `epochs`."""
    values = read_imagenet(method)
    return with_preset(values, epochs or values["epochs"])


def recipe(method: str, embedded: bool, epochs: int | None = None) -> dict[str, Any]:
    """Return the defaults of a run; a run shorter than ten times the recipe's warm-up warms up for a tenth of
    it, unless the recipe names that length.

    Args:
        method: its name.  embedded: whether it trains on the embedded photographs.
        epochs: the length of the run; None: the recipe's.
    """
    small = recipe_file(method, "embedded")
    own = {} if not embedded else load_yaml(small) if small else SMALL
    values = released(method, epochs) | own
    length = epochs or values["epochs"]
    presets = read_imagenet(method).get(PRESETS, {})
    if values["warmup_epochs"] and length < 10 * values["warmup_epochs"] and length not in presets:
        values["warmup_epochs"] = None
    return values


def differences(config: PretrainConfig) -> dict[str, dict[str, Any]]:
    """Return what differs from the method's released ImageNet run of this length: ``{option: {released, here}}``.

    Options that the recipe does not name, because the released run had nothing of the kind, are compared with their
    defaults. What no option can change, the method itself says (``Method.not_as_released``).
    """
    given = released(config.method, config.epochs)
    here = to_dict(config) | {"warmup_epochs": config.warmup}
    standard = to_dict(type(config)(method=config.method, options=type(config.options)()))
    found = {}
    for name, value in here.items():
        wanted = given.get(name, standard[name])
        if name not in NOT_RECIPE and value != wanted:
            found[name] = {"released": wanted, "here": value}
    return found
