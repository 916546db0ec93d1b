"""One diagnosis: a checkpoint's layers on a sample of images -> measures -> table and JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.core.files import sha256_of, write_json
from benchmark.core.folder import RESULTS, check_writable
from benchmark.core.options import to_dict
from benchmark.embedded.composer import ensure_pretraining_images
from pretrain.diagnostics.measures import measure
from pretrain.diagnostics.sample import AUGMENTATION, Encode, extract, make_sample
from pretrain.engine.processes import choose_device
from pretrain.images.loading import normalised
from pretrain.images.recipe import PUBLISHED, ViewRecipe
from pretrain.shards.find import find_images
from transfer.checkpoints.backbone import Backbone
from transfer.checkpoints.reading import read_file
from transfer.checkpoints.weights import resolve_weights
from transfer.probing.diagnosis_config import DiagnoseConfig
from transfer.probing.encoder import check_for_classification, make_encoder

OURS = ("pretrain", "pretrain-backbone")  # layouts of pretrain/run.py's files
HEADS = {"online": "projector", "momentum": "momentum_projector"}  # names in a checkpoint of ours
FOLDER = RESULTS / "diagnostics"
FORMAT = 1  # of the JSON file


def diagnose(config: DiagnoseConfig, word: str, output: Path | None) -> dict[str, Any]:
    """Measure the checkpoint that `word` names, print a table, write the JSON file and return its content.

    Raises ``UserError`` for what cannot be read, ``RunFailed`` where no image can be.
    """
    check_writable(output.parent if output else FOLDER, "--output")
    weights = resolve_weights(
        word, branch=config.branch, arch=config.arch, seed=config.seed, layout=config.layout, trust=config.trust
    )
    check_for_classification(weights, word)
    device = choose_device(config.device)
    paths = find_images(config.data if config.data is not None else ensure_pretraining_images())
    sample = make_sample(paths, config.images, config.image_size, config.views, config.seed)
    found = extract(sample, make_encode(weights, projector_of(word, weights), device), config.batch_size)
    layers = {name: measure(f, config.bootstrap, config.seed, f"{name}") for name, f in found.layers.items()}
    about = weights.source() | {"arch": weights.arch}
    images = {"data": paths.title if config.data is not None else "embedded", **sample.paths.identity()}
    images |= {"unreadable": len(found.unreadable), "image_size": config.image_size, "views": config.views}
    images |= {"augmentation": AUGMENTATION, "classes": None if sample.labels is None else len(set(sample.labels))}
    content = {"format": FORMAT, "weights": about, "images": images, "seed": config.seed, "layers": layers}
    key = sha256_of([about, images, to_dict(config)["bootstrap"], config.seed])[:10]
    path = output or FOLDER / f"{weights.name(word)}-{key}.json".replace("/", "_")
    write_json(path, content)
    print(table(content))
    print(f"written to {path}")
    return content


def projector_of(word: str, weights: Backbone) -> nn.Sequential | None:
    """Return the projector of a checkpoint of ours, in eval mode; None where the file has none.

    It is a ``Sequential`` of Linear, batch norm and ReLU, and the ReLUs are the places that hold no tensor.
    """
    if not Path(word).is_file():
        return None
    content = read_file(word).content if weights.layout == "pretrain" else None
    model = content.get("model") if isinstance(content, Mapping) else None
    prefix = HEADS[weights.branch or "online"] + "."
    if not isinstance(model, Mapping):
        return None
    return head_from({name.removeprefix(prefix): t for name, t in model.items() if name.startswith(prefix)})


def head_from(tensors: Mapping[str, Tensor]) -> nn.Sequential | None:
    """Return the head that these tensors, ``NUMBER.NAME`` each, belong to; None where there are none.

    MoCo v1's is a single Linear, whose tensors have no number.
    """
    if tensors.keys() == {"weight", "bias"}:
        tensors = {f"0.{name}": tensor for name, tensor in tensors.items()}
    places: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, rest = name.partition(".")
        if not number.isdecimal() or "." in rest:
            return None
        places.setdefault(int(number), {})[rest] = tensor
    if not places:
        return None
    modules: list[nn.Module] = []
    for number in range(max(places) + 1):
        held = places.get(number)
        if held is None:
            modules.append(nn.ReLU())
        elif "running_mean" in held:
            modules.append(nn.BatchNorm1d(len(held["running_mean"]), affine="weight" in held))
        else:
            outputs, inputs = held["weight"].shape
            modules.append(nn.Linear(inputs, outputs, bias="bias" in held))
    head = nn.Sequential(*modules)
    head.load_state_dict(dict(tensors))
    return head.eval()


def make_encode(weights: Backbone, projector: nn.Sequential | None, device: torch.device) -> Encode:
    """Return what maps pixels to the features of the backbone, and of the projector where there is one."""
    backbone = make_encoder(weights).to(device, memory_format=torch.channels_last)
    # What our SimCLR and SwAV were trained on is not normalised as ImageNet's networks have it.
    ours = weights.layout in OURS and weights.method in PUBLISHED
    recipe = PUBLISHED[str(weights.method)][0] if ours else ViewRecipe()
    head = None if projector is None else projector.to(device)

    def encode(pixels: Tensor) -> dict[str, Tensor]:
        features = backbone(normalised(pixels, device, recipe.mean, recipe.std))
        return {"backbone": features} if head is None else {"backbone": features, "projector": head(features)}

    return encode


def table(content: Mapping[str, Any]) -> str:
    """Return the measures of a JSON file of diagnostics as text for people."""
    lines = []
    for layer, found in content["layers"].items():
        lines.append(f"{layer}, {found['dimensions']} dimensions")
        for name, m in found["measures"].items():
            if m["value"] is None:
                lines.append(f"  {name:27} not defined for this few eigenvalues")
                continue
            interval = "" if m["low"] is None else f" [{m['low']:.4g}, {m['high']:.4g}]"
            lines.append(f"  {name:27}{m['value']:9.4g}{interval:20} n {m['samples']:<6} {m['definition']}")
    return "\n".join(lines)
