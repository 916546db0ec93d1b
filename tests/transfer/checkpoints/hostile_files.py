"""Files that ask for gigabytes, for hours, or for a traceback; each is written in a moment and is small."""

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.transfer.checkpoints.layout_files import FILES, State, light, under

STATE = light(0)


def _torch(content: object) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path)


def _legacy(content: object) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path, _use_new_zipfile_serialization=False)


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content)


def _with(name: str, tensor: torch.Tensor) -> State:
    return under("module.encoder_q.", STATE | {name: tensor})


def _archive(pickled: bytes, **parts: bytes) -> Callable[[Path], None]:
    """Write a torch archive with this pickle."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("a/data.pkl", pickled)
            archive.writestr("a/byteorder", b"little")
            for name, content in parts.items():
                archive.writestr(f"a/{name}", content)
            archive.writestr("a/version", b"3\n")

    return write


def _inflating(path: Path) -> None:
    """Write an archive whose pickle is 1 GB of empty lists, compressed into a megabyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("a/data.pkl", "w") as file:
            file.write(b"\x80\x02")
            for _ in range(1024):
                file.write(b"]0" * 2**19)
            file.write(b"N.")
        archive.writestr("a/version", b"3\n")


def _overlapping(path: Path) -> None:
    """Write an archive whose 2,000 parts are one and the same 64 KiB: 128 MiB out of 200 KiB."""
    content = bytes(2**16)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("a/data/0", content)
        entry = archive.getinfo("a/data/0")
        for index in range(1, 2000):
            copy = zipfile.ZipInfo(f"a/data/{index}")
            copy.header_offset, copy.CRC = entry.header_offset, entry.CRC
            copy.file_size = copy.compress_size = entry.file_size
            archive.filelist.append(copy)
        archive.writestr("a/version", b"3\n")


def _many_tensors(path: Path) -> None:
    save_file({f"a{index}": torch.zeros(1) for index in range(10_001)}, path)


def _header(length: int) -> bytes:
    return struct.pack("<Q", length) + b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'


def _nested() -> dict:
    """Return dictionaries that hold each other by memo: 12 levels of 64 keys, 64^12 paths."""
    inner: dict = {"conv1.weight": torch.ones(1)}
    for _ in range(12):
        inner = {f"k{index}": inner for index in range(64)}
    return inner


_PROTOCOL = b"\x80\x02"
_TUPLES = b")" + b"q\x00h\x00\x86" * 60  # () and then, sixty times, (it, it)
_COPIES = (
    _PROTOCOL + b"(lq\x00" + b"X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"q\x010h\x00"
    + b"c_codecs\nencode\nq\x020" + b"h\x02h\x01\x85Ra" * 5000 + b"."
)  # fmt: skip
HUGE = torch.zeros(1).expand(2**40)
SPARSE = torch.sparse_coo_tensor(torch.zeros(1, 1, dtype=torch.long), torch.ones(1), (2**40,))

HOSTILE: dict[str, Callable[[Path], None]] = {
    "dictionaries nested by memo": _torch(_nested()),
    "the same beside our own checkpoint": _torch(FILES["ours"][1](STATE, STATE) | {"again": _nested()}),
    "a bomb of tuples as a key, in a pickle": _bytes(_PROTOCOL + b"}" + _TUPLES + b"Ns."),
    "a bomb of tuples as a key, in a torch file": _archive(_PROTOCOL + b"}" + _TUPLES + b"Ns."),
    "a bomb of tuples by DUP": _bytes(_PROTOCOL + b"})" + b"2\x86" * 60 + b"Ns."),
    "a bomb of tuples in a set": _archive(_PROTOCOL + b"\x8f(" + _TUPLES + b"\x90."),
    "nine bytes that number objects to 2^28": _bytes(b"\x80\x02}r\xff\xff\xff\x0f."),
    "nine bytes in a torch file": _archive(b"\x80\x02}r\xff\xff\xff\x0f."),
    "one string, copied 5,000 times": _bytes(_COPIES),
    "one string, copied 5,000 times, in a torch file": _archive(_COPIES),
    "three million dictionaries": _bytes(b"\x80\x04" + b"}" * 3_000_000 + b"."),
    "a byte array of 2^40 bytes": _bytes(b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"."),
    "a frame of 2^60 bytes": _bytes(b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"}."),
    "a number of a million digits": _bytes(b"\x80\x02I" + b"9" * 10**6 + b"\n."),
    "lists within lists, 100,000 deep": _bytes(b"\x80\x02" + b"(" * 10**5 + b"l" * 10**5 + b"."),
    "a zip whose pickle inflates to 1 GB": _inflating,
    "a zip whose parts overlap": _overlapping,
    "a zip without anything": _bytes(b"PK\x05\x06" + bytes(18)),
    "a tensor of 2^40 elements of stride 0": _torch(_with("conv1.weight", HUGE)),
    "the same, given twice": _torch(STATE | under("module.", {"conv1.weight": HUGE})),
    "the same beside a backbone": _torch(_with("fc.weight", HUGE)),
    "a sparse tensor of 2^40 elements": _torch(_with("conv1.weight", SPARSE)),
    "a sparse tensor as pixel_std": _torch({"model": {"pixel_std": SPARSE, **FILES["detectron2 C4"][1](STATE, STATE)}}),
    "float8": _torch(_with("layer1.0.bn1.weight", torch.ones(64).to(torch.float8_e4m3fn))),
    "complex": _torch(_with("layer1.0.bn1.weight", torch.ones(64, dtype=torch.complex64))),
    "uint16": _torch(_with("layer1.0.bn1.weight", torch.ones(64, dtype=torch.uint16))),
    "booleans": _torch(_with("layer1.0.bn1.running_var", torch.ones(64, dtype=torch.bool))),
    "quantised": _torch(_with("layer1.0.bn1.weight", torch.quantize_per_tensor(torch.ones(64), 0.1, 0, torch.qint8))),
    "on the meta device": _torch(_with("layer1.0.bn1.running_var", torch.ones(64, device="meta"))),
    "no dimension": _torch(_with("layer1.0.conv2.weight", torch.tensor(1.0))),
    "one dimension where four are": _torch(_with("conv1.weight", torch.ones(64))),
    "every weight of one dimension": _torch({name: tensor.flatten()[:1] for name, tensor in STATE.items()}),
    "claims to be ours: no model": _torch({"format_version": 1, "model": 5, "method": [1], "epoch": "x", "rng": 3}),
    "claims to be ours: a model of nothing": _torch({"format_version": 2, "model": {"encoder.conv1.weight": None}}),
    "claims to be converted": _torch({"__author__": "ssl-detection-benchmark", "model": {}, "source": {"branch": [1]}}),
    "keys that are no text": _torch({1: STATE, (2, 3): STATE, None: STATE}),
    "names of 10,000 characters": _torch(_with("a." * 5000 + "conv1.weight", torch.ones(1))),
    "10,001 tensors": _many_tensors,
    "a safetensors header of 2^60 bytes": _bytes(_header(2**60)),
    "a safetensors header of 90 MB": _bytes(_header(90_000_000) + b" " * 1000),
    "a legacy file that numbers objects to 2^28": lambda path: _legacy({"a": 1})(path)
    or path.write_bytes(path.read_bytes().replace(b"}q\x00", b"}r\xff\xff\xff\x0f", 1)),
    "a pickle of nothing": _bytes(b"\x80\x02."),
    "opcodes that take more than there is": _bytes(b"\x80\x02\x87sbtue."),
}  # fmt: skip
# What may be as it is, because no value of it is ever touched: the backbone beside it converts.
HARMLESS = (
    "the same beside our own checkpoint", "the same beside a backbone", "names of 10,000 characters",
    "a sparse tensor as pixel_std",
)  # fmt: skip
