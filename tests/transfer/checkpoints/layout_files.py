"""A file of every layout, made from one network: what the tests of conversion are parametrised over.

``python -m tests.transfer.checkpoints.layout_files`` prints the conversion report of all of them.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor

State = dict[str, Tensor]


def network(seed: int = 0) -> State:
    """Return the state of a torchvision ResNet-50 whose batch-norm tensors all differ from their first values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = torchvision.models.resnet50()
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.8, 1.2)
                torch.nn.init.uniform_(layer.weight, 0.8, 1.2)
                torch.nn.init.normal_(layer.bias, 0, 0.1)
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def light(seed: int = 0) -> State:
    """Return a network whose every tensor is one number, its own, repeated: a file of it is small.

    Which tensor went where is all that conversion can get wrong; ``network`` is for what a network computes.
    """
    with torch.device("meta"):
        shapes = {name: t.shape for name, t in torchvision.models.resnet50().state_dict().items()}
    numbers = torch.rand(len(shapes), generator=torch.Generator().manual_seed(seed))
    state = {name: number.clone().expand(shape) for (name, shape), number in zip(shapes.items(), numbers, strict=True)}
    return {name: tensor.long() if "num_batches" in name else tensor for name, tensor in state.items()}


def under(prefix: str, state: State) -> State:
    """Put a prefix before every name."""
    return {prefix + name: tensor for name, tensor in state.items()}


def without_head(state: State) -> State:
    """Leave the classifier out."""
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def numbered(state: State) -> State:
    """Name a network as if it had been cut into ``nn.Sequential(*children)``."""
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    state = without_head(state)
    return {f"{numbers[name.split('.')[0]]}.{name.split('.', 1)[1]}": tensor for name, tensor in state.items()}


def with_projector(state: State) -> State:
    """Replace the classifier by a projector in its place, as SimSiam, MEC and Matrix-SSL do."""
    head = {f"fc.{layer}.weight": torch.ones(8, 8) for layer in (0, 3, 6)}
    return without_head(state) | head | {"fc.1.weight": torch.ones(8), "fc.1.running_mean": torch.ones(8)}


def detectron2(state: State) -> State:
    """Name a network by hand as Detectron2 does, independently of the converter."""
    named = {}
    for name, tensor in without_head(state).items():
        parts = name.split(".")
        if parts[0] in ("conv1", "bn1"):
            parts = ["stem", "conv1", *(["norm"] if parts[0] == "bn1" else []), parts[-1]]
        else:
            parts[0] = {"layer1": "res2", "layer2": "res3", "layer3": "res4", "layer4": "res5"}[parts[0]]
            if parts[2] == "downsample":
                parts[2:4] = ["shortcut"] if parts[3] == "0" else ["shortcut", "norm"]
            elif parts[2].startswith("bn"):
                parts[2:3] = ["conv" + parts[2][2], "norm"]
        named[".".join(parts)] = tensor
    return {name: tensor for name, tensor in named.items() if "num_batches" not in name}


def split_c4(state: State) -> State:
    """Name as a trained C4 detector does: res5 in the RoI heads, behind an extra norm and beside heads."""
    named = detectron2(state)
    named = {("roi_heads." if name.startswith("res5") else "backbone.") + name: t for name, t in named.items()}
    return named | {"roi_heads.res5.norm.weight": torch.ones(2048), "roi_heads.mask_head.deconv.bias": torch.ones(4)}


def lightning(state_dict: State, epochs: int = 400, **hyper_parameters: object) -> dict:
    """Wrap as Lightning does; its progress counter says how many epochs are complete."""
    progress = {"fit_loop": {"epoch_progress": {"current": {"processed": epochs}}}}
    more = {"epoch": epochs - 1, "loops": progress, "pytorch-lightning_version": "2.1.0"}
    return {"state_dict": state_dict, "hyper_parameters": hyper_parameters, **more}


def vissl(state: State) -> dict:
    """Nest as VISSL does; phase 399 is the 400th epoch."""
    trunk = under("_feature_blocks.", state)
    model = {"model": {"trunk": trunk, "heads": {"0.clf.0.weight": torch.ones(3)}}}
    return {"classy_state_dict": {"base_model": model, "train": True}, "train_phase_idx": 399}


ADAM = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": np.float64(0.03), "params": [0]}]}

# name -> (layout that must be found, content from (online, momentum), whether it holds a momentum branch,
#          (method, epoch, total epochs) that must be read)
Builder = Callable[[State, State], dict]
FILES: dict[str, tuple[str, Builder, bool, tuple]] = {
    "torchvision": ("torchvision", lambda a, b: a, False, (None, None, None)),
    "barlow resnet50.pth": ("torchvision", lambda a, b: without_head(a), False, (None, None, None)),
    "timm with averaged weights": (
        "torchvision", lambda a, b: {"state_dict": a, "state_dict_ema": b}, True, (None, None, None),
    ),
    "moco": (
        "moco",
        lambda a, b: {
            "epoch": 200, "arch": "resnet50", "optimizer": ADAM,
            "state_dict": under("module.encoder_q.", a) | under("module.encoder_k.", b)
            | {"module.queue": torch.ones(128, 4), "module.queue_ptr": torch.ones(1)},
        },
        True, ("moco_v1", 200, None),
    ),
    "moco v3": (
        "mocov3",
        lambda a, b: {
            "epoch": 300, "state_dict": under("module.base_encoder.", with_projector(a))
            | under("module.momentum_encoder.", with_projector(b)) | {"module.predictor.0.weight": torch.ones(3, 3)},
        },
        True, ("moco_v3", 300, None),
    ),
    "matrix-ssl": (
        "simsiam",
        lambda a, b: {
            "epoch": 100, "arch": "resnet50", "optimizer": ADAM,
            "state_dict": under("module.encoder.", with_projector(a)) | under("module.teacher.", with_projector(b))
            | {"module.predictor.0.weight": torch.ones(3, 3)},
        },
        True, (None, 100, None),
    ),
    "simsiam": (
        "simsiam", lambda a, b: {"epoch": 100, "state_dict": under("module.encoder.", with_projector(a))}, False,
        (None, 100, None),
    ),
    "barlow checkpoint.pth": (
        "barlow-twins",
        lambda a, b: {
            "epoch": 1000, "model": under("module.backbone.", without_head(a))
            | {"module.projector.0.weight": torch.ones(2, 2)},
        },
        False, (None, 1000, None),
    ),
    "swav released": (
        "swav",
        lambda a, b: under("module.", without_head(a)) | {"module.projection_head.0.weight": torch.ones(2, 2),
                                                         "module.prototypes.weight": torch.ones(2, 2)},
        False, ("swav", None, None),
    ),
    "swav checkpoint": (
        "swav",
        lambda a, b: {
            "epoch": 800, "state_dict": under("module.", without_head(a)) | {"module.prototypes.weight": torch.ones(2)}
        },
        False, (None, 800, None),
    ),
    "dino": (
        "dino",
        lambda a, b: {
            "student": under("module.backbone.", without_head(a)) | {"module.head.mlp.0.weight": torch.ones(2, 2)},
            "teacher": under("backbone.", without_head(b)), "epoch": 800, "args": argparse.Namespace(epochs=800),
            "dino_loss": {"center": torch.zeros(1, 8)},
        },
        True, ("dino", 800, 800),
    ),
    "solo-learn": (
        "solo-learn",
        lambda a, b: lightning(
            under("backbone.", without_head(a)) | under("momentum_backbone.", without_head(b))
            | {"classifier.weight": torch.ones(2, 2)}, method="byol", max_epochs=1000),
        True, ("byol", 400, 1000),
    ),
    "solo-learn, early": (
        "solo-learn",
        lambda a, b: lightning(
            under("encoder.", without_head(a)) | under("momentum_encoder.", without_head(b))
            | {"classifier.weight": torch.ones(2, 2)}),
        True, (None, 400, None),
    ),
    "lightly": (
        "lightly",
        lambda a, b: lightning(
            under("backbone.", without_head(a)) | under("backbone_momentum.", without_head(b))
            | {"projection_head.layers.0.weight": torch.ones(2, 2)}),
        True, (None, 400, None),
    ),
    "lightly numbered": (
        "lightly",
        lambda a, b: lightning(under("backbone.", numbered(a)) | under("backbone_momentum.", numbered(b))),
        True, (None, 400, None),
    ),
    "lightly's MoCo benchmark": (
        "lightly-averaged",
        lambda a, b: lightning(
            under("query_backbone.", without_head(a)) | under("backbone.", without_head(b))
            | {f"{side}projection_head.layers.0.weight": torch.ones(2, 2) for side in ("", "query_")}),
        True, (None, 400, None),
    ),
    "lightly's DINO benchmark": (
        "lightly-averaged",
        lambda a, b: lightning(
            under("student_backbone.", numbered(a)) | under("backbone.", numbered(b))
            | {f"{side}projection_head.layers.0.weight": torch.ones(2, 2) for side in ("", "student_")}),
        True, (None, 400, None),
    ),
    "lightly's teacher": (
        "lightly",
        lambda a, b: lightning(under("student_backbone.", without_head(a)) | under("teacher_backbone.", b)),
        True, (None, 400, None),
    ),
    "mmselfsup": (
        "mmselfsup",
        lambda a, b: {
            "meta": {"epoch": 200, "iter": 1}, "state_dict": under("backbone.", without_head(a))
            | under("encoder_k.0.", without_head(b)) | {"neck.mlp.0.weight": torch.ones(2, 2)},
        },
        True, (None, 200, None),
    ),
    "vissl": ("vissl", lambda a, b: vissl(a), False, (None, 400, None)),
    "vissl moco": (
        "vissl", lambda a, b: vissl(a) | {"loss": under("moco_encoder.trunk._feature_blocks.", b)}, True,
        (None, 400, None),
    ),
    "pycontrast": (
        "pycontrast",
        lambda a, b: {
            "opt": argparse.Namespace(epochs=800), "epoch": 800, "model": under("module.encoder.", a),
            "model_ema": under("module.encoder.", b),
        },
        True, (None, 800, 800),
    ),
    "detectron2": ("detectron2", lambda a, b: {"model": detectron2(a)}, False, (None, None, None)),
    "detectron2 C4": ("detectron2", lambda a, b: {"model": split_c4(a), "iteration": 9}, False, (None, None, None)),
    "detectron2 FPN": (
        "detectron2",
        lambda a, b: {"model": under("backbone.bottom_up.", detectron2(a)) | {"backbone.fpn_lateral2.bias": torch.ones(2)}},  # noqa: E501
        False, (None, None, None),
    ),
    "ours": (
        "pretrain",
        lambda a, b: {
            "model": under("encoder.", without_head(a)) | under("momentum_encoder.", without_head(b))
            | {"momentum_projector.0.weight": torch.ones(2, 2)},
            "method": "kernel_ssl", "epoch": 400, "total_epochs": 800, "iteration": 7, "optimizer": ADAM,
            "rng": {"torch": torch.ones(4)}, "config": {"seed": 3}, "format_version": 1,
        },
        True, ("kernel_ssl", 400, 800),
    ),
}  # fmt: skip


def main() -> None:
    """Convert a file of every layout and print what arrived, as a Markdown table."""
    from transfer.convert import convert_checkpoint

    states = {"online": light(0), "momentum": light(1)}
    expected = {branch: detectron2(state) for branch, state in states.items()}
    print("| file | layout found | branch | tensors equal | method | epoch / total |\n" + "| --- " * 6 + "|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.pth"
        for name, (_, build, has_momentum, _) in FILES.items():
            torch.save(build(states["online"], states["momentum"]), path)
            for branch in ("online", "momentum") if has_momentum else ("online",):
                content = convert_checkpoint(path, branch=branch)
                model, source = content["model"], content["source"]
                equal = sum(torch.equal(model[key], tensor) for key, tensor in expected[branch].items())
                epochs = " / ".join(str(source[key] or "-") for key in ("epoch", "total_epochs"))
                found = (source["layout"], branch, f"{equal} of {len(model)}", source["method"] or "-", epochs)
                print("| " + " | ".join([name, *found]) + " |")


if __name__ == "__main__":
    main()
