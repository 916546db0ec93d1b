"""The bare encoder of any checkpoint, in torchvision's names: what classification works with.

Our own checkpoints and exports are read directly, ResNet-18 included; every other file goes through the strict
converter, whose Detectron2 names are turned back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of, sha256_of_file
from pretrain.engine.checkpoint import load_checkpoint
from pretrain.networks.encoder import build_backbone, untrained_backbone
from pretrain.training.config import ARCHITECTURES

RANDOM, TORCHVISION = "random", "torchvision:"
PREFIXES = {"online": "encoder.", "momentum": "momentum_encoder."}
OUR_KEYS = {"model", "method", "epoch", "total_epochs"}  # of checkpoints, that are needed here
COUNTER = "num_batches_tracked"  # of batch norm; nothing here reads it


@dataclass(frozen=True)
class Weights:
    """An encoder's tensors under torchvision's names, and where they come from.

    Attributes:
        state: name -> tensor, complete (strict), on the CPU.
        arch: ``resnet18`` or ``resnet50``.
        method, epochs, total_epochs, branch: by the checkpoint's own account; None where it has none.
        sha256: of the file; for ``random`` of its architecture and seed.
    """

    state: dict[str, Tensor]
    arch: str
    method: str
    epochs: int | None
    total_epochs: int | None
    branch: str | None
    sha256: str


def read_weights(
    weights: str,
    *,
    branch: str = "online",
    arch: str = "resnet50",
    seed: int = 0,
    layout: str | None = None,
    trust: bool = False,
) -> Weights:
    """Read the encoder of a checkpoint, or make the untrained one.

    Args:
        weights: ``random`` or the path of a checkpoint: ours, our exported backbone, or anything convert.py reads;
            ``torchvision:FILE`` names torchvision's supervised weights in the record.
        branch: ``online`` or ``momentum``.
        arch, seed: of ``random``: the encoder that pre-training with that seed starts from.
        layout, trust: for foreign checkpoints, as in ``transfer.convert.convert_checkpoint``.

    Raises:
        UserError: no such file, an unknown format, a branch that the file has not, or not exactly a ResNet's tensors.
    """
    if weights == RANDOM:
        key = sha256_of([RANDOM, arch, seed])
        return Weights(untrained_backbone(arch, seed), arch, RANDOM, 0, None, None, key)
    if weights.startswith(("msra:", "detectron2-random")):
        raise UserError(f"--weights {weights} is for detectors only; classification takes torchvision's kind of input.")
    path = Path(weights.removeprefix(TORCHVISION))
    if not path.is_file():
        raise UserError(f"there is no file {path}; give --weights a checkpoint, or 'random' for the untrained encoder.")
    found = None
    if layout is None:
        found = _our_export(path, branch) or _our_checkpoint(path, branch)
    found = found or _foreign(path, branch, layout, trust)
    return replace(found, method="supervised-torchvision") if weights.startswith(TORCHVISION) else found


def make_backbone(weights: Weights) -> nn.Module:
    """Return the encoder with these weights, (B, 3, H, W) -> (B, 512 or 2048), in eval mode."""
    backbone = build_backbone(weights.arch)
    backbone.load_state_dict(weights.state)
    return backbone.eval()


def _our_checkpoint(path: Path, branch: str) -> Weights | None:
    try:
        content = load_checkpoint(path)
    except UserError:
        return None  # not ours: the converter reads it, or says what is wrong with it
    if not content.keys() >= OUR_KEYS or not isinstance(content["model"], Mapping):
        return None
    prefix = PREFIXES[branch]
    state = {name.removeprefix(prefix): t for name, t in content["model"].items() if name.startswith(prefix)}
    if not state:
        raise UserError(f"{path} has no {branch} branch; choose another --branch.")
    about = (content["method"], content["epoch"], content["total_epochs"], branch, sha256_of_file(path))
    return Weights(state, _checked(state, path), *about)


def _our_export(path: Path, branch: str) -> Weights | None:
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if not {"method", "epoch", "total_epochs", "branch"} <= about.keys():
                return None
            epochs = (int(about["epoch"]), int(about["total_epochs"]))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (SafetensorError, OSError, ValueError):
        return None  # not ours
    if about["branch"] != branch:
        raise UserError(f"{path} holds the {about['branch']} branch only; give the checkpoint.pth beside it.")
    return Weights(state, _checked(state, path), about["method"], *epochs, branch, sha256_of_file(path))


def _foreign(path: Path, branch: str, layout: str | None, trust: bool) -> Weights:
    from transfer.checkpoints.resnet import detectron2_name, expected_shapes
    from transfer.convert import convert_checkpoint

    converted = convert_checkpoint(path, branch=branch, layout=layout, trust=trust)
    # Converted files are strict ResNet-50s; they leave out the norms' counters, which loading asks for.
    state = build_backbone("resnet50").state_dict()
    state |= {name: converted["model"][detectron2_name(name)] for name in expected_shapes()}
    source = converted["source"]
    if source["layout"] == "detectron2" and layout is None:
        raise UserError(
            f"{path} is a file of Detectron2, trained perhaps on BGR images with another stride (MSRA's are); if it "
            "takes torchvision's kind of input, say so by --layout detectron2."
        )
    about = (source["method"] or path.stem, source["epoch"], source["total_epochs"], source["branch"])
    return Weights(state, "resnet50", *about, source["sha256"])


def _checked(state: dict[str, Tensor], path: Path) -> str:
    """Return the architecture whose tensors these are exactly (norm counters aside), or raise ``UserError``."""
    shapes = {name: tuple(t.shape) for name, t in state.items() if not name.endswith(COUNTER)}
    for arch in ARCHITECTURES:
        expected = build_backbone(arch).state_dict()
        if shapes == {name: tuple(t.shape) for name, t in expected.items() if not name.endswith(COUNTER)}:
            return arch
    raise UserError(
        f"{path} does not hold exactly the tensors of {' or '.join(ARCHITECTURES)}; inspect it by convert.py."
    )
