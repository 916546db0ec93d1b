"""What a file or a folder is, by its first bytes and never by its name: for those that hold no readable checkpoint."""

import zipfile
from pathlib import Path

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6: a pickled magic number
PICKLE_MAGIC = tuple(b"\x80" + bytes([protocol]) for protocol in (2, 3, 4, 5))
_TENSORFLOW_INDEX_END = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
_CHECKPOINTS = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".tar", ".pkl")
DCP_TO_TORCH = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch"


def what_a_folder_is(path: Path) -> str:
    """Say what a folder is that was given in place of a checkpoint, and what to give instead."""
    names = sorted(item.name for item in path.iterdir())
    if ".metadata" in names and any(name.endswith(".distcp") for name in names):
        return (
            "is a folder of torch.distributed.checkpoint (FSDP); if you trust its author, make one file of it by "
            f"'{DCP_TO_TORCH} {path} FILE.pth' and give that"
        )
    if "saved_model.pb" in names:
        return "is a SavedModel of TensorFlow, which is not read here"
    files = [name for name in names if name.endswith(_CHECKPOINTS)]
    if files:
        return f"is a folder; give one of the files in it ({', '.join(files[:5])})"
    return "is a folder; give the path of a checkpoint's file"


def what_a_file_is(path: Path, start: bytes) -> str:
    """Say what a file is that is neither a torch file, nor a pickle, nor safetensors."""
    for magic, said in _BY_FIRST_BYTES:
        if start.startswith(magic):
            return said
    if not start:
        return "it is empty"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page"
    if start.lstrip().startswith(b"{") and (b'"metadata"' in start or b'"weight_map"' in start):
        return "it is the index of a checkpoint in several files; give one of those files"
    if start[:1] == b"\x08" and b"\x12" in start[:4]:
        return "it is an ONNX file, which is not read here"
    with open(path, "rb") as file:
        file.seek(257)
        if file.read(5) == b"ustar":
            return "it is a tar archive; torch files of that kind (before torch 0.4) cannot be read safely"
        file.seek(max(0, path.stat().st_size - 8))
        if file.read(8) == _TENSORFLOW_INDEX_END:
            return "it is the index of a TensorFlow checkpoint, which is not read here"
    return "it is neither a torch file, nor a pickle, nor safetensors"


_BY_FIRST_BYTES = (
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file that it points to"),
    (b"\x1f\x8b", "it is compressed by gzip; unpack it first"),
    (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file (Keras), which is not read here"),
    (b"\x93NUMPY", "it is one array of numpy"),
    (b"7z\xbc\xaf", "it is compressed by 7-Zip; unpack it first"),
    (b"\xfd7zXZ", "it is compressed by xz; unpack it first"),
    (b"BZh", "it is compressed by bzip2; unpack it first"),
    (b"(\xb5/\xfd", "it is compressed by Zstandard; unpack it first"),
    (b"GGUF", "it is a GGUF file, which is not read here"),
)


def what_an_archive_is(path: Path) -> str | None:
    """Say what a zip archive is that is no checkpoint of torch, None for one that may be or cannot be opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # the checksums' look says how it is damaged
        return None
    ends = {name.split("/", 1)[-1] for name in names}
    if "constants.pkl" in ends:
        return (
            "is a TorchScript archive, a program and not only its tensors (CLIP is published so); load it by "
            "torch.jit.load and save its state_dict()"
        )
    if "data.pkl" in ends:
        return None
    if names and all(name.endswith(".npy") for name in names):
        return "is an archive of numpy arrays (.npz), such as JAX's weights, which are not read here"
    return "is a zip archive without a checkpoint; unpack it first"
