"""The bare backbone as a file of its own: safetensors in torchvision's names."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save as save_safetensors
from torch import Tensor

from benchmark.core.files import write_bytes
from pretrain.engine.tensor_hash import tensors_sha256

BACKBONE = "backbone.safetensors"


def export_backbone(path: str | Path, encoder_state: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write the bare backbone in torchvision's names as safetensors; `metadata` becomes its strings.

    The format has no checksum, so the metadata also holds ``weights_sha256``, the hash of the tensors. Equal weights
    and metadata give equal bytes.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder_state.items()}
    strings = {key: str(value) for key, value in metadata.items()} | {"weights_sha256": tensors_sha256(tensors)}
    write_bytes(path, _ordered(save_safetensors(tensors, strings)))


def _ordered(content: bytes) -> bytes:
    """Return a safetensors file with its metadata in order: the library's own order differs from process to process."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[8 + length :]
