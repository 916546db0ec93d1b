"""Published files by name and by hash, what users state, and who is believed."""

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch
from safetensors.torch import save as safetensors_bytes

from benchmark.catalogue import entries, lookup
from benchmark.catalogue import obtain as obtaining
from benchmark.catalogue.entries import Entry
from benchmark.core.errors import UserError, run_command
from benchmark.core.folder import ROOT
from tests.benchmark.catalogue.server import running_server
from tests.transfer.checkpoints.layout_files import FILES, light, without_head
from tests.transfer.checkpoints.msra_file import caffe2_form
from transfer.checkpoints.backbone import USER, ZOO
from transfer.checkpoints.convention import MSRA_BGR, RGB
from transfer.checkpoints.conversion import convert_checkpoint
from transfer.checkpoints.layouts import LAYOUTS
from transfer.checkpoints.sources import record_of, with_statement
from transfer.checkpoints.weights import resolve_weights
from transfer.convert import main as convert

ONLINE = light(0)
TOLD = {"layout": "torchvision", "licence": "MIT", "source": "a/b@1234567 README.md", "access": "direct"}


def torch_bytes(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


PLAIN = torch_bytes(without_head(ONLINE))
MOCO = torch_bytes(FILES["moco"][1](ONLINE, light(1)))


@pytest.fixture
def server():
    with running_server() as running:
        yield running


@pytest.fixture
def zoo(monkeypatch, server, tmp_path):
    """Fill the catalogue with what this machine's server publishes."""
    monkeypatch.setenv("SSL_ZOO", str(tmp_path / "cache"))
    told = []
    for module in (entries, lookup, obtaining):
        monkeypatch.setattr(module, "read_zoo", lambda: tuple(told))

    def publish(name, content, **changes):
        path = f"/{name}/{changes.pop('file', 'file.pth')}"
        values = TOLD | {"method": "moco_v2", "epochs": 800, "file": path.rsplit("/", 1)[-1]} | changes
        entry = Entry(name=name, url=f"https://example.org{path}", **values)
        told.append(entry.model_copy(update={"url": server.add(path, content)}))

    return publish


def account(backbone):
    return backbone.method, backbone.method_from, backbone.epoch, backbone.epochs_from, backbone.zoo


def test_layout_words_of_the_catalogue_are_layouts_here():
    assert set(entries.LAYOUTS) <= {layout.name for layout in LAYOUTS}


def test_named_weights_are_the_files_tensors_with_the_catalogues_account(zoo):
    zoo("moco_v2_800ep", PLAIN, sha256=hashlib.sha256(PLAIN).hexdigest()[:8])
    found = resolve_weights("zoo:moco_v2_800ep")
    assert account(found) == ("moco_v2", ZOO, 800, ZOO, "moco_v2_800ep")
    assert found.sha256 == hashlib.sha256(PLAIN).hexdigest()
    assert all(torch.equal(found.tensors[name], ONLINE[name]) for name in found.tensors)
    assert found.convention == RGB


def test_any_file_with_a_known_hash_is_that_checkpoint(zoo, tmp_path, capsys):
    """Whatever its name; the catalogue goes before the file, whose epoch says 200 and whose layout says moco."""
    zoo("moco_v2_800ep", MOCO, md5=hashlib.md5(MOCO).hexdigest()[:8], layout="moco")
    path = tmp_path / "dino_300ep.bin"
    path.write_bytes(MOCO)
    assert account(resolve_weights(str(path))) == ("moco_v2", ZOO, 800, ZOO, "moco_v2_800ep")
    assert "is moco_v2_800ep of the zoo, by its hash; licence: MIT" in capsys.readouterr().err
    assert convert_checkpoint(path)["source"]["zoo"] == "moco_v2_800ep"
    path.write_bytes(MOCO + b"\n")  # another file of the same tensors is not the published one
    found = resolve_weights(str(path))
    assert (found.epoch, found.epochs_from, found.zoo) == (200, "file", None)


def test_epochs_that_the_catalogue_does_not_know_stay_the_files(zoo, tmp_path):
    zoo("unknown_length", MOCO, md5=hashlib.md5(MOCO).hexdigest(), layout="moco", epochs=None, note="not stated")
    found = resolve_weights("zoo:unknown_length")
    assert (found.method_from, found.epoch, found.epochs_from) == (ZOO, 200, "file")


def test_torchvisions_weights_by_name_are_supervised_ones(zoo):
    changes = {"method": "supervised-torchvision", "epochs": None, "note": "not stated"}
    zoo("supervised_torchvision_v2", PLAIN, sha256=hashlib.sha256(PLAIN).hexdigest()[:8], **changes)
    found = resolve_weights("torchvision:IMAGENET1K_V2")
    assert (found.family, found.method, found.method_from) == ("torchvision", "supervised-torchvision", ZOO)
    assert resolve_weights("zoo:supervised_torchvision_v2").family == "torchvision"


def test_msras_weights_by_name_keep_their_convention(zoo):
    content = pickle.dumps({"blobs": caffe2_form(ONLINE)}, protocol=2)
    changes = {"method": "supervised-msra", "layout": "msra", "epochs": None, "note": "not stated", "file": "R-50.pkl"}
    zoo("supervised_msra", content, **changes)
    found = resolve_weights("zoo:supervised_msra")
    assert (found.family, found.convention, found.method) == ("msra", MSRA_BGR, "supervised-msra")


def test_archive_of_one_file_is_unpacked_and_keeps_its_entry(zoo):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("obow/net.pth.tar", torch_bytes({"network": without_head(ONLINE)}))
    zoo("obow_200ep", buffer.getvalue(), method="obow", epochs=200, file="obow.zip")
    assert account(resolve_weights("zoo:obow_200ep")) == ("obow", ZOO, 200, ZOO, "obow_200ep")


def test_address_and_hub_take_the_same_strict_path(zoo, server, monkeypatch):
    assert resolve_weights(server.add("/w.pth", PLAIN)).method is None
    with pytest.raises(UserError, match="holds no ResNet-50"):
        resolve_weights(server.add("/x.pth", torch_bytes({"x.weight": torch.ones(3)})))
    with pytest.raises(UserError, match=r"is damaged|is not a checkpoint|cannot be read"):
        resolve_weights(server.add("/y.pth", b"not a checkpoint at all"))
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    tensors = {name: tensor.contiguous() for name, tensor in without_head(ONLINE).items()}
    content, commit = safetensors_bytes(tensors), "c" * 40
    server.add(f"/lab/net/resolve/{commit}/model.safetensors", content, headers={"X-Repo-Commit": commit})
    about = {"id": "lab/net", "sha": commit, "siblings": [{"rfilename": "model.safetensors"}], "tags": []}
    server.add("/api/models/lab/net", json.dumps(about).encode(), content_type="application/json")
    found = resolve_weights("hf:lab/net", method="byol", epoch=300)
    assert account(found) == ("byol", USER, 300, USER, None)
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.name("hf:lab/net") == "byol"


@pytest.fixture
def silent_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_ZOO", str(tmp_path / "cache"))
    (tmp_path / "weights.pth").write_bytes(PLAIN)
    return str(tmp_path / "weights.pth")


def test_what_the_user_states_is_kept_apart(silent_file):
    assert account(resolve_weights(silent_file)) == (None, None, None, None, None)
    found = resolve_weights(silent_file, method="byol", epoch=300)
    assert account(found) == ("byol", USER, 300, USER, None)
    assert record_of(found) == {"method_source": "stated", "epochs_source": "stated"}
    assert record_of(resolve_weights("random")) == {}
    again = with_statement(found, silent_file, "swav", 400)  # a converted file keeps a statement; a new one replaces it
    assert account(again) == ("swav", USER, 400, USER, None)


def test_statement_that_contradicts_the_file_or_the_catalogue_is_refused(zoo, tmp_path):
    (tmp_path / "moco.pth").write_bytes(MOCO)
    with pytest.raises(UserError, match=r"--epochs-stated 800 contradicts the file itself, which says 200"):
        resolve_weights(str(tmp_path / "moco.pth"), epoch=800)
    assert resolve_weights(str(tmp_path / "moco.pth"), epoch=200).epochs_from == "file"
    with pytest.raises(UserError, match=r"--method byol contradicts the file itself, which says moco"):
        resolve_weights(str(tmp_path / "moco.pth"), method="byol")
    zoo("moco_v2_800ep", PLAIN)
    with pytest.raises(UserError, match=r"--method byol contradicts the catalogue .* says moco_v2"):
        resolve_weights("zoo:moco_v2_800ep", method="byol")


@pytest.mark.parametrize("word", ["random", "detectron2-random", "torchvision:x.pth", "msra:x.pkl"])
def test_nothing_is_stated_of_weights_that_are_known(word):
    with pytest.raises(UserError, match="needs neither"):
        resolve_weights(word, method="byol")


@pytest.mark.parametrize(("method", "hint"), [("MoCo v2", "write --method moco_v2"), ("../x", "such as|--method x")])
def test_stated_method_is_a_name(silent_file, method, hint):
    with pytest.raises(UserError, match=hint):
        resolve_weights(silent_file, method=method)


def test_convert_takes_a_name_and_writes_where_it_is_called(zoo, tmp_path, monkeypatch, capsys):
    zoo("moco_v2_800ep", PLAIN)
    monkeypatch.chdir(tmp_path)
    assert convert(["--weights", "zoo:moco_v2_800ep"]) == 0
    content = torch.load(tmp_path / "moco_v2_800ep.detectron2.pth", weights_only=True)
    assert (
        content["source"] | {"method": "moco_v2", "method_from": ZOO, "epoch": 800, "zoo": "moco_v2_800ep"}
        == (content["source"])
    )
    assert "licence: MIT (a/b@1234567 README.md)" in capsys.readouterr().err
    # What was converted keeps its account when it is used as weights.
    assert account(resolve_weights("moco_v2_800ep.detectron2.pth"))[:2] == ("moco_v2", ZOO)
    assert convert(["zoo:moco_v2_800ep", "--inspect"]) == 0
    assert run_command(convert, ["a.pth", "--weights", "zoo:moco_v2_800ep"]) == 2


def test_two_ranks_download_once(zoo, server, tmp_path):
    url = server.add("/w.pth", PLAIN)
    code = f"from transfer.checkpoints.weights import resolve_weights; print(resolve_weights({url!r}).sha256)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2"}
    ranks = [
        subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]  # fmt: skip
    (out, err), (other, silent) = (process.communicate(timeout=120) for process in ranks)
    assert out == other == hashlib.sha256(PLAIN).hexdigest() + "\n"
    assert len(server.gets("/w.pth")) == 1
    assert "licence" in err
    assert "licence" not in silent
