"""Our checkpoint: written atomically, read safely (``weights_only=True``).

Keys: ``model`` (all branches), ``method``, ``epoch`` (completed), ``total_epochs``, ``iteration`` (completed),
``optimizer``, ``rng``, ``config``, ``format_version``, and of the run so far ``scaler``, ``seconds`` (wall time),
``identity`` (settings and images) and ``watch`` (what hooks have found). Plain Python numbers only.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

from benchmark.core.errors import UserError
from benchmark.core.files import write_bytes, write_with

FORMAT_VERSION = 1
LAST = "checkpoint.pth"
BACKBONE = "backbone.safetensors"


def numbered(epoch: int) -> str:
    """Return the name of a kept checkpoint: ``checkpoint_0400.pth`` holds the weights after 400 completed epochs."""
    return f"checkpoint_{epoch:04d}.pth"


def save_checkpoint(path: str | Path, content: dict[str, Any]) -> None:
    """Write a checkpoint atomically; `content` holds tensors, plain numbers, strings, lists and dicts only."""
    write_with(path, lambda file: torch.save({**content, "format_version": FORMAT_VERSION}, file))


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of ours onto the CPU without executing anything in it.

    Raises:
        UserError: missing, damaged or no checkpoint of ours, or of another format version.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; give the path of a {LAST}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise half a dozen kinds
        kind = type(error).__name__
        raise UserError(f"{path} cannot be read as a checkpoint ({kind}); it is damaged or not ours.") from None
    if not isinstance(content, dict) or "format_version" not in content:
        raise UserError(f"{path} is not a checkpoint of pretrain/run.py; convert others with transfer/convert.py.")
    if content["format_version"] != FORMAT_VERSION:
        raise UserError(f"{path} has format {content['format_version']}, this version reads {FORMAT_VERSION}.")
    return content


def export_backbone(path: str | Path, encoder_state: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write the bare backbone in torchvision's names as safetensors; `metadata` becomes its strings.

    Equal weights and metadata give equal bytes, so that the file's hash identifies them.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder_state.items()}
    write_bytes(path, _ordered(save_safetensors(tensors, {key: str(value) for key, value in metadata.items()})))


def _ordered(content: bytes) -> bytes:
    """Return a safetensors file with its metadata in order: the library's own order differs from process to process."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[8 + length :]
