"""What --weights may say: a checkpoint, random, detectron2-random, torchvision:FILE or msra:FILE.

Each family of weights was trained on its own kind of input, so each carries its input convention (pitfalls 9 and 10);
nothing warns when that is wrong, the shapes are the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core.errors import UserError, nearest
from benchmark.core.files import sha256_of, sha256_of_file

if TYPE_CHECKING:
    from detectron2.config import CfgNode

RANDOM, DETECTRON2_RANDOM = "random", "detectron2-random"
TORCHVISION, MSRA = "torchvision:", "msra:"


@dataclass(frozen=True)
class InputConvention:
    """How a family of weights wants its images and its stride.

    Attributes:
        format: order of the channels, ``RGB`` or ``BGR``.
        mean, std: per channel in that order, on the scale 0 to 255.
        stride_in_1x1: whether a stage halves the image in its first 1x1 convolution (MSRA) or in its 3x3.
    """

    format: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    stride_in_1x1: bool

    def apply(self, cfg: "CfgNode") -> None:
        """Write the convention into a Detectron2 config that is not frozen."""
        cfg.INPUT.FORMAT = self.format
        cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = list(self.mean), list(self.std)
        cfg.MODEL.RESNETS.STRIDE_IN_1X1 = self.stride_in_1x1


RGB = InputConvention("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False)
MSRA_BGR = InputConvention("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), True)


@dataclass(frozen=True)
class Initialisation:
    """The weights a detector starts from.

    Attributes:
        family: ``checkpoint``, ``random``, ``detectron2-random``, ``torchvision`` or ``msra``.
        convention: of its input.
        checkpoint: for ``detector.load_weights``; None for ``detectron2-random``, which loads nothing.
        method: for the record; None where the file does not say.
        epoch, total_epochs: completed and planned, by the file's own account; None where it does not say.
        branch: ``online`` or ``momentum``; None where there are no branches.
        layout: where the backbone was found; None where nothing was read.
        sha256: of the file that the weights come from (before any conversion), or of family and seed.
    """

    family: str
    convention: InputConvention
    checkpoint: dict[str, Any] | None
    method: str | None
    epoch: int | None
    total_epochs: int | None
    branch: str | None
    layout: str | None
    sha256: str


def resolve_weights(
    spec: str, *, branch: str = "online", layout: str | None = None, trust: bool = False, seed: int = 0
) -> Initialisation:
    """Read what ``--weights`` names.

    Args:
        spec: ``FILE`` (any checkpoint that convert.py reads), ``random`` (the untrained encoder that pre-training with
            `seed` starts from, converted like a checkpoint of 0 epochs), ``detectron2-random`` (Detectron2's own),
            ``torchvision:FILE`` (supervised, torchvision's) or ``msra:FILE`` (supervised, Detectron2's ``R-50.pkl``).
        branch, layout, trust: as for ``convert_checkpoint``.
        seed: of ``random``.

    Raises:
        UserError: see ``convert_checkpoint``; a file for ``msra:`` that is none of MSRA's.
    """
    if spec == RANDOM:
        return _untrained(seed)
    if spec == DETECTRON2_RANDOM:
        return Initialisation(spec, RGB, None, spec, 0, None, None, None, sha256_of([spec]))
    if spec.startswith(MSRA):
        return _msra(Path(spec.removeprefix(MSRA)))
    if spec.startswith(TORCHVISION):
        found = _checkpoint("torchvision", spec.removeprefix(TORCHVISION), "online", layout, trust)
        if found.layout not in ("torchvision", "detectron2"):
            raise UserError(f"{spec} is no supervised file of torchvision but {found.layout}; leave torchvision: out.")
        return found
    known = (RANDOM, DETECTRON2_RANDOM)
    if not Path(spec).exists() and "/" not in spec and "." not in spec:
        raise UserError(f"--weights {spec!r} is neither a file nor a known initialisation{nearest(spec, known)}")
    return _checkpoint("checkpoint", spec, branch, layout, trust)


def resolve_detector(path: str, *, trust: bool = False) -> Initialisation:
    """Read a whole detector for evaluation: one of ours (``model_final.pth``), or any in Detectron2's format.

    A detector of ours says which family of weights it came from, hence how it wants its images; others are taken to
    want RGB (``KEY VALUE`` overrides change that).

    Raises:
        UserError: unreadable, unsafe, or without a ``model``.
    """
    from transfer.checkpoints.reading import read_file

    content = read_file(path, trust=trust).content
    if not isinstance(content, Mapping) or not isinstance(content.get("model"), Mapping):
        raise UserError(f"{path} is no detector: it has no 'model'; give the model_final.pth of a fine-tuning run.")
    told = content.get("detector")
    told = told if isinstance(told, Mapping) else {}
    family = str(told.get("family", "checkpoint"))
    convention = MSRA_BGR if family == "msra" else RGB
    about = [told.get(key) for key in ("method", "epoch", "total_epochs", "branch", "layout")]
    return Initialisation(family, convention, dict(content), *about, sha256_of_file(path))


def _checkpoint(family: str, path: str, branch: str, layout: str | None, trust: bool) -> Initialisation:
    from transfer.convert import convert_checkpoint

    content = convert_checkpoint(path, branch=branch, layout=layout, trust=trust)
    source = content["source"]
    method = "supervised-torchvision" if family == "torchvision" else source["method"]
    told = (source["epoch"], source["total_epochs"], source["branch"], source["layout"], source["sha256"])
    return Initialisation(family, RGB, content, method, *told)


def _untrained(seed: int) -> Initialisation:
    from pretrain.networks.encoder import untrained_backbone
    from transfer.convert import converted

    # As classify.py names the same weights, so that a table can join the two.
    sha256 = sha256_of([RANDOM, "resnet50", seed])
    source = {"sha256": sha256, "layout": RANDOM, "branch": "online", "method": RANDOM}
    source |= {"epoch": 0, "total_epochs": None, "seed": seed}
    content = converted(untrained_backbone("resnet50", seed), source)
    return Initialisation(RANDOM, RGB, content, RANDOM, 0, None, None, None, sha256)


def _msra(path: Path) -> Initialisation:
    """Take MSRA's pickle as it is: Detectron2 itself knows how to translate Caffe2's names and folded norms."""
    from transfer.checkpoints.reading import read_file
    from transfer.detection.model import CAFFE2

    content = read_file(path).content
    if isinstance(content, Mapping) and isinstance(content.get("blobs"), Mapping):
        content = content["blobs"]
    if not isinstance(content, Mapping) or "conv1_w" not in content or "res5_2_branch2c_w" not in content:
        raise UserError(f"{path} is not MSRA's R-50.pkl with Caffe2's names; give other files without msra:.")
    model = {name: value for name, value in content.items() if not name.endswith("_momentum")}
    checkpoint = {"model": model, "__author__": CAFFE2, "matching_heuristics": True}
    method, sha256 = "supervised-msra", sha256_of_file(path)
    return Initialisation("msra", MSRA_BGR, checkpoint, method, None, None, None, "msra", sha256)
