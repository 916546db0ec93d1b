"""From a word to a verified file: zoo:, https:, torchvision:, hf:, archives, pins, and two processes at once."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from benchmark.catalogue import cache as caching
from benchmark.catalogue import lookup
from benchmark.catalogue import obtain as obtaining
from benchmark.catalogue.check import check_cache
from benchmark.catalogue.entries import Entry
from benchmark.catalogue.hub import choose_file, split_word
from benchmark.catalogue.obtain import identify, names_a_published_file, obtain
from benchmark.core.errors import RunFailed, UserError
from benchmark.zoo import main

ROOT = Path(__file__).resolve().parents[3]
CONTENT = b"weights " * 1000
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


def make_entry(name, **changes):
    told = {"method": "moco_v2", "epochs": 800, "access": "direct", "url": "https://example.org/a.pth", "file": "a.pth",
            "layout": "moco", "licence": "MIT", "source": "a/b@1234567 README.md"}  # fmt: skip
    return Entry(name=name, **(told | changes))


@pytest.fixture
def zoo(monkeypatch):
    """Put entries into the catalogue; their addresses may be this machine's server (which has no https)."""

    def put(*entries):
        for module in (lookup, obtaining):
            monkeypatch.setattr(module, "read_zoo", lambda: entries)
        return entries

    return put


def at(entry, url):
    return entry.model_copy(update={"url": url})


@pytest.fixture
def said():
    return []


def test_named_entry_comes_once_with_its_licence(server, cache, zoo, said):
    zoo(at(make_entry("known", sha256=SHA256[:8]), server.add("/a.pth", CONTENT)))
    for _ in range(2):
        got = obtain("zoo:known", said.append)
        assert (got.path.read_bytes(), got.sha256, got.entry.name) == (CONTENT, SHA256, "known")
    assert len(server.gets("/a.pth")) == 1
    assert said.count("licence: MIT (a/b@1234567 README.md)") == 2
    assert any("has the published hash" in text for text in said)
    assert got.path == cache / "known" / "a.pth"


@pytest.mark.parametrize("published", [{"sha256": "0" * 8}, {"md5": "0" * 8}, {"sha256": SHA256[:-1] + "x"}])
def test_wrong_hash_keeps_nothing(server, cache, zoo, said, published):
    entry = make_entry("known").model_copy(update=published)
    zoo(at(entry, server.add("/a.pth", CONTENT)))
    with pytest.raises(UserError, match=r"the file of known has .* published is"):
        obtain("zoo:known", said.append)
    assert list((cache / "known").iterdir()) == []
    assert caching.read_pins() == {}


def test_md5_is_verified_too(server, cache, zoo, said):
    zoo(at(make_entry("known", md5=MD5[:8]), server.add("/a.pth", CONTENT)))
    obtain("zoo:known", said.append)
    assert caching.read_pins()["zoo:known"].verified


def test_first_download_pins_the_hash_and_a_changed_file_is_refused(server, cache, zoo, said):
    zoo(at(make_entry("new"), server.add("/a.pth", CONTENT)))
    path = obtain("zoo:new", said.append).path
    assert any(SHA256 in text and "is pinned" in text for text in said)
    told = json.loads((cache / "zoo.lock.json").read_text())
    assert told["pins"]["zoo:new"]["sha256"] == SHA256
    assert told["pins"]["zoo:new"]["verified"] is False
    path.unlink()
    server.files["/a.pth"].content = b"another file"
    with pytest.raises(UserError, match="was pinned on"):
        obtain("zoo:new", said.append)


def test_damaged_file_in_the_cache_is_noticed(server, cache, zoo, said, capsys):
    zoo(at(make_entry("new"), server.add("/a.pth", CONTENT)))
    path = obtain("zoo:new", said.append).path
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(UserError, match="damaged or another file"):
        obtain("zoo:new", said.append)


def test_check_tells_right_from_wrong(server, cache, zoo, said, monkeypatch, capsys):
    entries = zoo(
        at(make_entry("good", sha256=SHA256[:8]), server.add("/a.pth", CONTENT)),
        at(make_entry("pinned", file="b.pth"), server.add("/b.pth", b"other")),
    )
    web = server.add("/w/c.pth", b"from the web")
    for word in ("zoo:good", "zoo:pinned", web):
        obtain(word, said.append)
    monkeypatch.setattr("benchmark.zoo.read_zoo", lambda: entries)
    assert [result.state for result in check_cache(entries)] == ["right"] * 3
    assert main(["--check"]) == 0
    (cache / "good" / "a.pth").write_bytes(b"no longer")
    (cache / "pinned" / "b.pth").unlink()
    assert {result.word: result.state for result in check_cache(entries)} == {
        "zoo:good": "wrong", "zoo:pinned": "missing", web: "right",
    }  # fmt: skip
    assert main(["--check"]) == 1
    capsys.readouterr()
    main(["--check", "--json"])
    assert {row["state"] for row in json.loads(capsys.readouterr().out)} == {"wrong", "missing", "right"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("pixpro_400ep", r"download https://drive.google.com.* by hand to .*pixpro_400ep/pixpro_400ep.pth"),
        ("soco_c4_100ep", r"pretrain/SoCo_C4_100ep/ckpt_epoch_100.pth in that folder, by hand"),
        ("slotcon_imagenet_100ep", r"OneDrive gives files to browsers only"),
        ("matrix_ssl", r"No checkpoint is published"),
        ("byol_1000ep_deepmind", r"not a ResNet-50 of PyTorch"),
    ],
)
def test_what_cannot_be_downloaded_is_told_before_any_request(cache, said, name, sentence):
    with pytest.raises(UserError, match=sentence):
        obtain(f"zoo:{name}", said.append)


def test_file_put_by_hand_is_found_and_pinned(cache, said):
    path = cache / "pixpro_400ep" / "pixpro_400ep.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    got = obtain("zoo:pixpro_400ep", said.append)
    assert (got.entry.method, got.entry.epochs) == ("pixpro", 400)
    assert caching.read_pins()["zoo:pixpro_400ep"].sha256 == SHA256
    assert identify(path).name == "pixpro_400ep"


def test_address_is_a_word_too(server, cache, said):
    url = server.add("/some%20where/w%C3%A9ights.pth", CONTENT)
    got = obtain(url, said.append)
    assert (got.path.read_bytes(), got.entry) == (CONTENT, None)
    assert got.path.is_relative_to(cache)
    assert "licence: not stated" in said[-1]
    obtain(url, said.append)
    assert len(server.gets("/some%20where/w%C3%A9ights.pth")) == 1


def test_address_whose_file_the_zoo_knows_is_that_entry(server, cache, zoo, said):
    zoo(make_entry("known", sha256=SHA256[:8]))
    assert obtain(server.add("/x", CONTENT), said.append).entry.name == "known"


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("https://", "no address of a file"),
        ("https://example.org", "no address of a file"),
        ("https://drive.google.com/file/d/1x/view", "by hand to .*; |by hand to .*Google Drive"),
        ("zoo:moco_v2_400ep", "near names are"),
        ("zoo:", "the zoo has no ''"),
        ("torchvision:IMAGENET1K_V3", "did you mean 'IMAGENET1K_V2'"),
        ("hf:", "names no repository"),
        ("hf:one", "names no repository"),
        ("hf:a/b/../../x", "names no repository"),
    ],
)
def test_wrong_words_are_told_without_network(cache, said, word, sentence):
    with pytest.raises(UserError, match=sentence):
        obtain(word, said.append)


def test_torchvisions_names_are_entries_of_the_zoo(server, cache, zoo, said):
    zoo(at(make_entry("supervised_torchvision_v2", sha256=SHA256[:8]), server.add("/a.pth", CONTENT)))
    assert obtain("torchvision:IMAGENET1K_V2", said.append).entry.name == "supervised_torchvision_v2"
    assert obtain("torchvision:DEFAULT", said.append).path.read_bytes() == CONTENT
    assert len(server.gets("/a.pth")) == 1


def test_words_of_this_machine_are_not_taken_for_published_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").write_bytes(b"")
    for word in ("random", "a.pth", "torchvision:a.pth", "torchvision:weights", "torchvision:/x/y", "msra:R-50.pkl"):
        assert not names_a_published_file(word)
    for word in ("zoo:a", "hf:a/b", "https://x.org/a", "torchvision:IMAGENET1K_V1", "torchvision:V3"):
        assert names_a_published_file(word)


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(("make", "name"), [(zipped, "a.zip"), (tarred, "a.tar.gz")])
def test_one_checkpoint_is_taken_out_of_an_archive(server, cache, said, make, name):
    members = {"folder/README.txt": b"text", "../../folder/net.pth.tar": CONTENT, "__MACOSX/._net.pth": b"x"}
    got = obtain(server.add(f"/{name}", make(members)), said.append)
    assert got.path.read_bytes() == CONTENT
    assert got.path.is_relative_to(cache)
    assert got.sha256 == hashlib.sha256(make(members)).hexdigest() or make is tarred


@pytest.mark.parametrize(
    ("members", "sentence"),
    [({"a.pth": b"1", "b.pth": b"2"}, r"2 checkpoints \(a.pth, b.pth\)"), ({"README": b""}, "no checkpoint")],
)
def test_archive_of_several_or_none_is_told(server, cache, said, members, sentence):
    with pytest.raises(UserError, match=sentence):
        obtain(server.add("/a.zip", zipped(members)), said.append)


def test_torch_file_is_no_archive(server, cache, said):
    content = zipped({"archive/data.pkl": b"", "archive/data/0": b"", "archive/x.bin": b""})
    assert obtain(server.add("/a.pth", content), said.append).path.read_bytes() == content


def test_bomb_in_an_archive_is_refused(server, cache, said, monkeypatch):
    monkeypatch.setattr("benchmark.catalogue.unpack.LARGEST", 1_000_000)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.pth", bytes(5_000_000))
    with pytest.raises(UserError, match="unpacks to more"):
        obtain(server.add("/a.zip", buffer.getvalue()), said.append)
    assert not any("unpacked" in path.name for path in cache.rglob("*"))


def test_identity_by_hash_whatever_the_name(server, cache, zoo, said, tmp_path):
    """The published hash first; a pinned one where none is published."""
    pinned = b"not published"
    zoo(
        make_entry("published", sha256=SHA256[:8]),
        at(make_entry("pinned", file="p.pth"), server.add("/p.pth", pinned)),
    )
    (tmp_path / "renamed.bin").write_bytes(CONTENT)
    (tmp_path / "copy.bin").write_bytes(pinned)
    (tmp_path / "other.bin").write_bytes(b"unknown")
    assert identify(tmp_path / "renamed.bin").name == "published"
    assert identify(tmp_path / "copy.bin") is None
    obtain("zoo:pinned", said.append)
    assert identify(tmp_path / "copy.bin").name == "pinned"
    assert identify(tmp_path / "other.bin") is None


@pytest.mark.parametrize("content", ["{", '{"version": 2, "pins": {}}', '{"pins": {"zoo:a": {"sha256": "no"}}}', "[]"])
def test_damaged_lock_file_is_told(cache, content):
    cache.mkdir()
    (cache / "zoo.lock.json").write_text(content)
    with pytest.raises(UserError, match="is damaged"):
        caching.read_pins()


def test_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch, said):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("SSL_ZOO", str(tmp_path / "file"))
    with pytest.raises(RunFailed, match="set SSL_ZOO to another folder"):
        obtain("zoo:moco_v2_800ep", said.append)


def test_cache_is_the_platforms_own_without_the_variable(monkeypatch):
    monkeypatch.delenv("SSL_ZOO", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/cache")
    if sys.platform == "linux":
        assert caching.cache_folder() == Path("/somewhere/cache/ssl-detection-benchmark/zoo")


def test_two_processes_download_once(server, cache):
    url = server.add("/a.pth", CONTENT * 500)
    code = f"from benchmark.catalogue.obtain import obtain; print(obtain({url!r}).sha256)"
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ) for _ in range(3)]
    told = {process.communicate(timeout=60)[0].strip() for process in both}
    assert told == {hashlib.sha256(CONTENT * 500).hexdigest()}
    assert len(server.gets("/a.pth")) == 1


HUB = "/api/models/lab/net"


@pytest.fixture
def hub(server, monkeypatch):
    """A hub on this machine, with the answers that huggingface_hub reads."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    commit = "0123456789abcdef0123456789abcdef01234567"

    def put(files, sha256=None, licence="apache-2.0"):
        siblings = []
        for name, content in files.items():
            digest = sha256 or hashlib.sha256(content).hexdigest()
            siblings.append({"rfilename": name, "size": len(content), "blobId": "b", "lfs": {
                "sha256": digest, "size": len(content), "pointerSize": 1}})  # fmt: skip
            server.add(f"/lab/net/resolve/{commit}/{name}", content, headers={"X-Repo-Commit": commit})
        about = {"id": "lab/net", "sha": commit, "siblings": siblings, "cardData": {"license": licence}, "tags": []}
        for path in (HUB, f"{HUB}/revision/main", f"{HUB}/revision/v1"):
            server.add(path, json.dumps(about).encode(), content_type="application/json")
        return f"/lab/net/resolve/{commit}/"

    return put


def test_hub_gives_safetensors_first(hub, server, cache, said):
    place = hub({"README.md": b"", "pytorch_model.bin": b"pickle", "model.safetensors": CONTENT})
    got = obtain("hf:lab/net", said.append)
    assert got.path.read_bytes() == CONTENT
    assert got.path.is_relative_to(cache)
    assert said[-1] == "licence: apache-2.0 (hf:lab/net)"
    assert any("has the published hash" in text for text in said)
    assert server.gets(place + "pytorch_model.bin") == []


def test_hub_file_revision_and_no_network_the_second_time(hub, server, cache, said):
    place = hub({"a.pth": b"a", "b.pth": CONTENT})
    assert obtain("hf:lab/net@v1/b.pth", said.append).path.read_bytes() == CONTENT
    server.requests.clear()
    assert obtain("hf:lab/net@v1/b.pth", said.append).path.read_bytes() == CONTENT
    assert server.requests == []
    assert place
    with pytest.raises(UserError, match=r"several checkpoints: a.pth, b.pth; choose by hf:lab/net/FILE"):
        obtain("hf:lab/net", said.append)
    with pytest.raises(UserError, match="there is no such file"):
        obtain("hf:lab/net/c.pth", said.append)


def test_hub_file_with_a_wrong_hash_is_refused(hub, cache, said):
    hub({"model.safetensors": CONTENT}, sha256="0" * 64)
    with pytest.raises(UserError, match="the hub says 0000"):
        obtain("hf:lab/net", said.append)


def test_hub_without_the_repository_and_hub_that_is_away(server, cache, said, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    server.add("/api/models/no/such", status=404, headers={"X-Error-Code": "RepoNotFound"})
    with pytest.raises((UserError, RunFailed), match=r"no repository no/such|cannot be downloaded"):
        obtain("hf:no/such", said.append)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RunFailed, match="cannot be downloaded"):
        obtain("hf:lab/net", said.append)


def test_choice_of_a_file_in_a_repository():
    assert split_word("hf:a/b@r/c/d.pth") == ("a/b", "r", "c/d.pth")
    assert choose_file("w", ["x.safetensors", "model.safetensors", "model.bin"], None) == "model.safetensors"
    assert choose_file("w", ["optimizer.pt", "pytorch_model.bin"], None) == "pytorch_model.bin"
    with pytest.raises(UserError, match="no checkpoint of PyTorch in one file"):
        choose_file("w", ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], None)
