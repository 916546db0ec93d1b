"""Files that would run code do not, harmless ones are read, damaged ones are named."""

import argparse
import collections
import os
import pathlib
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch.distributed import checkpoint as distributed_checkpoint
from torch.distributed.checkpoint import FileSystemWriter

from benchmark.core.errors import UserError
from tests.transfer.checkpoints.layout_files import detectron2, light
from transfer.checkpoints.conversion import read_backbone
from transfer.checkpoints.reading import read_file
from transfer.checkpoints.weights import resolve_detector, resolve_weights
from transfer.convert import convert_checkpoint

STATE = light(0)


class Malicious:
    """A pickle of it writes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.write_text, (pathlib.Path(self.path), "executed")


class ViaSystem(Malicious):
    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class ViaEval(Malicious):
    def __reduce__(self):
        return eval, (f"open({str(self.path)!r}, 'w').close()",)


def _torch_zip(content, path):
    torch.save(content, path)


def _torch_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def _plain_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


WRITERS = [_torch_zip, _torch_legacy, _plain_pickle]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kind", [Malicious, ViaSystem, ViaEval])
def test_a_file_that_would_write_a_file_does_not(write, kind, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "file.pth"
    write({"model": {"a": kind(mark)}}, path)
    with pytest.raises(UserError, match=r"names [\w.]+.*which could run code on reading.*give --trust") as caught:
        convert_checkpoint(path)
    names = {Malicious: ("pathlib", "getattr"), ViaSystem: ("posix.system",), ViaEval: ("eval",)}[kind]
    assert any(name in str(caught.value) for name in names)
    assert not mark.exists()
    read_file(path, trust=True)
    assert mark.exists(), "the file of this test does no harm at all, so that the test would prove nothing"


@pytest.mark.parametrize("write", [_torch_zip, _torch_legacy])
def test_numbers_of_numpy_and_namespaces_are_read(write, tmp_path):
    content = {
        "lr": np.float64(0.5),
        "epoch": np.int64(3),
        "flag": np.bool_(True),
        "small": np.float32(0.25),
        "args": argparse.Namespace(lr=0.1, layers=[1, 2]),
        "order": collections.OrderedDict(a=torch.ones(2)),
    }
    write(content, tmp_path / "file.pth")
    read = read_file(tmp_path / "file.pth").content
    assert [read[key] for key in ("lr", "epoch", "flag", "small")] == [0.5, 3, True, 0.25]
    assert isinstance(read["lr"], np.float64)
    assert read["args"] == content["args"]
    assert torch.equal(read["order"]["a"], torch.ones(2))


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numpy_scalars_by_the_names_of_numpy_1_and_2(module, tmp_path):
    """What a machine with the other numpy wrote: its name is patched into the pickle inside the file."""
    torch.save({"lr": np.float64(0.5)}, tmp_path / "file.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "file.pth").read_bytes()
    assert b"cnumpy._core.multiarray\nscalar" in content
    content = content.replace(b"cnumpy._core.multiarray\n", b"c" + module.encode() + b"\n")
    (tmp_path / "file.pth").write_bytes(content)
    assert read_file(tmp_path / "file.pth").content["lr"] == 0.5


@pytest.mark.parametrize("value", [pathlib.PurePosixPath("a"), np.ones(3, dtype=object), collections.deque([1])])
def test_everything_else_needs_trust_and_is_named(value, tmp_path):
    torch.save({"a": torch.ones(2), "b": value}, tmp_path / "file.pth")
    with pytest.raises(UserError, match=r"names \S*(PurePosixPath|_reconstruct|deque)"):
        read_file(tmp_path / "file.pth")
    assert torch.equal(read_file(tmp_path / "file.pth", trust=True).content["a"], torch.ones(2))


def test_every_name_that_needs_trust_is_listed(tmp_path):
    torch.save({"a": pathlib.PurePosixPath("a"), "b": collections.deque([1])}, tmp_path / "file.pth")
    with pytest.raises(UserError, match=r"PurePosixPath.*deque|deque.*PurePosixPath"):
        read_file(tmp_path / "file.pth")


@pytest.mark.parametrize("read", [read_file, read_backbone, resolve_weights, resolve_detector])
@pytest.mark.parametrize("word", ["", "msra:", "torchvision:"])
def test_nothing_trusts_a_file_unasked(read, word, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "file.pth"
    torch.save({"model": {"a": Malicious(mark)}}, path)
    with pytest.raises(UserError):
        read(f"{word if read is resolve_weights else ''}{path}")
    assert not mark.exists()


def test_five_names_that_need_trust_are_listed_each_cut_at_80_characters(tmp_path):
    values = [pathlib.PurePosixPath("a"), collections.deque([1]), collections.Counter("a"), 1j, os.system, ViaEval("x")]
    values += [collections.ChainMap({}), argparse.ArgumentParser]
    torch.save({f"v{number}": value for number, value in enumerate(values)}, tmp_path / "file.pth")
    with pytest.raises(UserError, match="could run code") as caught:
        read_file(tmp_path / "file.pth")
    assert str(caught.value).partition(", which could")[0].count(", ") == 4
    (tmp_path / "file.pkl").write_bytes(b"\x80\x04}" + _name("m" * 70, "n" * 70) + b".")
    with pytest.raises(UserError, match=rf"names {'m' * 70}\.{'n' * 9}, which"):
        read_file(tmp_path / "file.pkl")


@pytest.mark.parametrize(("length", "said"), [(16 * 2**20, "is damaged"), (16 * 2**20 + 1, "neither a torch file")])
def test_a_safetensors_header_has_at_most_16_mib(length, said, tmp_path):
    (tmp_path / "file.safetensors").write_bytes(length.to_bytes(8, "little") + b'{"a":{}}')
    with pytest.raises(UserError, match=said):
        read_file(tmp_path / "file.safetensors")


@pytest.mark.parametrize(("more", "said"), [(0, "is damaged"), (1, "describes its tensors in 64 MiB")])
def test_a_torch_file_describes_its_tensors_in_at_most_64_mib(more, said, tmp_path):
    with zipfile.ZipFile(tmp_path / "file.pth", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a/data.pkl", b"\xff" * (64 * 2**20 + more))
        archive.writestr("a/version", b"3\n")
    with pytest.raises(UserError, match=said):
        read_file(tmp_path / "file.pth")


def test_of_a_folder_five_files_are_named(tmp_path):
    for number in range(7):
        (tmp_path / f"c{number}.pth").touch()
    with pytest.raises(UserError, match=r"\(c0\.pth, c1\.pth, c2\.pth, c3\.pth, c4\.pth\)"):
        read_file(tmp_path)


def test_with_trust_a_class_that_is_not_installed_becomes_a_shell(tmp_path):
    (tmp_path / "absent_package.py").write_text("class AttributeDict(dict):\n    pass\n")
    program = "import torch, absent_package as a; torch.save({'h': a.AttributeDict(x=1), 't': torch.ones(2)}, 'f.pth')"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)
    with pytest.raises(UserError, match=r"absent_package\.AttributeDict"):
        read_file(tmp_path / "f.pth")
    content = read_file(tmp_path / "f.pth", trust=True).content
    assert content["h"]["x"] == 1
    assert torch.equal(content["t"], torch.ones(2))


def _name(module, name):
    """Return the opcodes that push a global (pickle protocol 4)."""
    return b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name)) + b"\x93"


def _dtype(code, state):
    return _name("numpy", "dtype") + b"\x8c" + bytes([len(code)]) + code + b"\x89\x88\x87R" + state


_POINTERS = b"C\x10" + b"A" * 16  # the bytes that would become two pointers to objects
_OBJECTS = _dtype(b"O8", b"(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb")
_FIELD = b"\x8c\x01a\x85}\x8c\x01a" + _dtype(b"O8", b"") + b"K\x00\x86s"
# A record of a pointer whose state says that it holds no objects, which numpy believes.
_FORGED = _dtype(b"V8", b"(K\x03\x8c\x01|N" + _FIELD + b"K\x08K\x01K\x00tb")


@pytest.mark.parametrize(
    "pickled",
    [
        _name("numpy", "ndarray") + b"(K\x02\x85" + _OBJECTS + _POINTERS + b"tR",
        _name("numpy", "ndarray") + b"(K\x02\x85\x8c\x01O" + _POINTERS + b"tR",
        _name("numpy.core.numeric", "_frombuffer") + b"(" + _POINTERS + _FORGED + b"K\x02\x85\x8c\x01CtR",
        _name("numpy.core.multiarray", "_reconstruct") + b"(" + _name("numpy", "ndarray") + b"K\x00\x85C\x01btR"
        + b"(K\x01K\x02\x85" + _FORGED + b"\x89" + _POINTERS + b"tb",
    ],
)  # fmt: skip
def test_bytes_of_a_stranger_never_become_pointers(pickled, tmp_path):
    (tmp_path / "file.pkl").write_bytes(b"\x80\x04" + pickled + b".")
    with pytest.raises(UserError, match="is damaged"):
        read_file(tmp_path / "file.pkl")


def test_of_a_dtype_s_state_only_the_order_of_bytes_is_read(tmp_path):
    dtype = _dtype(b"f8", b"(K\x03\x8c\x01>N\x8c\x01a\x85}\x8c\x01aK\x07sM\x00\x10K\x01K\x3ftb")
    pickled = _name("numpy._core.multiarray", "scalar") + b"(" + dtype + b"C\x08\x40" + bytes(7) + b"tR."
    (tmp_path / "file.pkl").write_bytes(b"\x80\x04" + pickled)
    assert read_file(tmp_path / "file.pkl").content == 2.0


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_and_scalars_of_either_byte_order(order, protocol, tmp_path):
    array = np.array([[1.5, -2], [3, 4]], dtype=f"{order}f4")
    content = {"a": array, "b": np.int64(7), "c": np.array(["x", "yz"]), "d": np.array([True, False])}
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    read = read_file(tmp_path / "file.pkl").content
    assert all(np.array_equal(read[key], value) for key, value in content.items())


def test_arrays_pickled_by_python_2(tmp_path):
    """Such as MSRA's: names and bytes are strings of one byte a character."""
    string = lambda text: b"U" + bytes([len(text)]) + text  # noqa: E731
    dtype = b"cnumpy\ndtype\n(" + string(b"f4") + b"K\x00K\x01tR(K\x03" + string(b"<") + b"NNNJ\xff\xff\xff\xff"
    dtype += b"J\xff\xff\xff\xffK\x00tb"
    data = np.array([1.5, -2], dtype="<f4").tobytes()
    pickled = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + string(b"b") + b"tR"
    (tmp_path / "file.pkl").write_bytes(pickled + b"(K\x01(K\x02t" + dtype + b"\x89" + string(data) + b"tb.")
    assert np.array_equal(read_file(tmp_path / "file.pkl").content, np.array([1.5, -2], dtype="f4"))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_detectron2_pickles_with_arrays(protocol, tmp_path):
    state = light(0)
    arrays = {name: tensor.numpy().copy() for name, tensor in detectron2(state).items()}
    content = {"model": arrays, "__author__": "torchvision", "matching_heuristics": True, "lr": np.float64(1)}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    converted = convert_checkpoint(tmp_path / "R-50.pkl")
    assert all(torch.equal(converted["model"][name], torch.from_numpy(array)) for name, array in arrays.items())
    assert converted["source"]["layout"] == "detectron2"


def test_a_fortran_array_keeps_its_order(tmp_path):
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    for protocol in (2, 5):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": array}, protocol=protocol))
        assert np.array_equal(read_file(tmp_path / "a.pkl").content["a"], array)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (b"\x1f\x8b" + bytes(50), "compressed by gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "an HDF5 file"),
        (b"\x93NUMPY" + bytes(50), "one array of numpy"),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.0.1" + bytes(50), "an ONNX file"),
        (bytes(90) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "the index of a TensorFlow checkpoint"),
        (b'{"metadata": {"total_size": 1}, "weight_map": {}}', "the index of a checkpoint in several files"),
        (
            b'{"weight_map": {"conv1.weight": "model-1-of-2.safetensors"}}',
            "the index of a checkpoint in several",
        ),
        (b'{"metadata": {"format": "pt", "note": "' + b"x" * 200, "the index of a checkpoint in several files"),
        (b'{"model": "resnet50"}', "neither a torch file"),
        (b"7z\xbc\xaf" + bytes(50), "compressed by 7-Zip"),
        (b"BZh91AY" + bytes(50), "compressed by bzip2"),
        (b"hello, this is no checkpoint at all", "neither a torch file"),
    ],
)
def test_what_is_no_checkpoint_is_named(start, said, tmp_path):
    (tmp_path / "file.pth").write_bytes(start)
    with pytest.raises(UserError, match=said):
        read_file(tmp_path / "file.pth")


def test_a_missing_file_a_folder_and_an_old_tar(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        read_file(tmp_path / "absent.pth")
    with pytest.raises(UserError, match="is a folder; give the path of a checkpoint's file"):
        read_file(tmp_path)
    with pytest.raises(UserError, match="is no name of a file"):
        read_file("a\0b")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="no regular file"):
        read_file(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"cannot be read \(File name too long\)"):
        read_file(tmp_path / ("n" * 300))
    with tarfile.open(tmp_path / "old.pth.tar", "w") as archive:
        archive.add(__file__, "storages")
    with pytest.raises(UserError, match="tar archive"):
        read_file(tmp_path / "old.pth.tar")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([".metadata", "__0_0.distcp"], "format_utils dcp_to_torch .*folder FILE.pth"),
        (["saved_model.pb", "variables"], "SavedModel of TensorFlow"),
        (["config.json", "model.safetensors", "pytorch_model.bin"], r"\(model\.safetensors, pytorch_model\.bin\)"),
    ],
)
def test_what_a_folder_is_is_named(names, said, tmp_path):
    (tmp_path / "folder").mkdir()
    for name in names:
        (tmp_path / "folder" / name).touch()
    with pytest.raises(UserError, match=said):
        read_file(tmp_path / "folder")


def test_a_folder_of_torch_s_distributed_checkpoint_is_read_after_the_command_that_is_named(tmp_path):
    """The message's own command, run; what it writes converts."""
    writer = FileSystemWriter(tmp_path / "folder")
    distributed_checkpoint.save(
        {"model": {f"module.encoder_q.{n}": t for n, t in STATE.items()}}, storage_writer=writer
    )
    with pytest.raises(UserError, match="dcp_to_torch") as caught:
        read_file(tmp_path / "folder")
    command = re.search(r"'python (.*) FILE\.pth'", str(caught.value))[1].split()
    subprocess.run([sys.executable, *command, str(tmp_path / "file.pth")], check=True, timeout=120)
    assert torch.equal(convert_checkpoint(tmp_path / "file.pth")["model"]["stem.conv1.weight"], STATE["conv1.weight"])


def test_archives_that_are_no_checkpoints_are_named(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pt")
    with pytest.raises(UserError, match=r"is a TorchScript archive.*torch\.jit\.load"):
        read_file(tmp_path / "script.pt")
    np.savez(tmp_path / "weights.npz", a=np.ones(3))
    with pytest.raises(UserError, match="an archive of numpy arrays"):
        read_file(tmp_path / "weights.npz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "text")
    with pytest.raises(UserError, match="a zip archive without a checkpoint"):
        read_file(tmp_path / "a.zip")


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_flipped_bit_is_seen_by_the_checksum(place, tmp_path):
    path = tmp_path / "file.pth"
    torch.save({"state_dict": {"a": torch.arange(100_000.0)}}, path)
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 4
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        read_file(path)


def test_a_checkpoint_without_checksums_is_read(tmp_path):
    """``torch.serialization.set_crc32_options(False)`` writes 0 in place of each."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(3)}, tmp_path / "file.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(read_file(tmp_path / "file.pth").content["a"], torch.ones(3))


@pytest.mark.parametrize("write", [*WRITERS, lambda content, path: save_file({"a": torch.ones(999)}, path)])
@pytest.mark.parametrize("part", [0.2, 0.6, 0.95])
def test_a_file_cut_short_is_a_mistake_told_in_a_sentence(write, part, tmp_path):
    path = tmp_path / "file.pth"
    write({"a": np.float64(1), "b": "text" * 2000}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(UserError, match=r"damaged|cannot be read|no checkpoint"):
        read_file(path)


def test_a_network_saved_whole_is_read_with_trust(tmp_path):
    torch.save(torchvision.models.resnet50(), tmp_path / "whole.pth")
    with pytest.raises(UserError, match=r"torchvision\.models\.resnet\.ResNet"):
        convert_checkpoint(tmp_path / "whole.pth")
    assert len(convert_checkpoint(tmp_path / "whole.pth", trust=True)["model"]) == 265
