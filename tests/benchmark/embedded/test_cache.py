"""Composed sets on the disk: composed once, and again when files are missing, changed or added."""

import contextlib
import hashlib
import io
import json
import subprocess
import sys

import pytest

from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from benchmark.embedded import composer
from benchmark.embedded.cache import MANIFEST, changed_files


@pytest.fixture
def composed(tmp_path, monkeypatch):
    """A set of five photographs, and the contents of its files."""
    monkeypatch.setattr(composer, "COMPOSED", tmp_path)
    folder = composer.ensure_pretraining_images(5, 32, 0)
    return folder, contents(folder)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def again():
    """Ask for the set again; return what is said."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        composer.ensure_pretraining_images(5, 32, 0)
    return said.getvalue()


def test_a_set_is_composed_once_and_what_a_killed_composer_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(composer, "COMPOSED", tmp_path)
    left = tmp_path / ".objects-count5-size32-seed0-v1.part"
    left.mkdir()
    (left / "half.jpg").write_bytes(b"")
    folder = composer.ensure_pretraining_images(5, 32, 0)
    files = sorted(folder.rglob("*.jpg"))
    assert len(files) == 5
    assert not left.exists()
    before = files[0].stat().st_mtime_ns
    assert composer.ensure_pretraining_images(5, 32, 0) == folder
    assert files[0].stat().st_mtime_ns == before


def deleted(folder):
    sorted(folder.rglob("*.jpg"))[2].unlink()


def replaced(folder):
    first, second = sorted(folder.rglob("*.jpg"))[:2]
    first.write_bytes(second.read_bytes())


def flipped_bit(folder):
    path = sorted(folder.rglob("*.jpg"))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def added(folder):
    (next(path for path in folder.iterdir() if path.is_dir()) / "mine.jpg").write_bytes(b"x")


@pytest.mark.parametrize("change", [deleted, replaced, flipped_bit, added])
def test_a_set_whose_files_have_changed_is_composed_again_and_it_is_said(composed, change):
    folder, before = composed
    change(folder)
    assert len(changed_files(folder)) == 1
    assert "(1 file(s) missing, changed or added, such as" in again()
    assert contents(folder) == before
    assert again() == ""
    assert not [path for path in folder.parent.iterdir() if path.name.endswith((".part", ".old"))]


@pytest.mark.parametrize("content", [None, b"", b"[1]", b'{"a": 1}', b"\xff"])
def test_a_set_without_its_manifest_is_composed_again(composed, content):
    folder, before = composed
    (folder / MANIFEST).unlink()
    if content is not None:
        (folder / MANIFEST).write_bytes(content)
    assert "composing it again" in again()
    assert contents(folder) == before


def test_the_manifest_holds_the_hash_of_every_file(composed):
    folder, before = composed
    assert changed_files(folder) == []
    names = {path.as_posix(): hashlib.sha256(content).hexdigest() for path, content in before.items()}
    del names[MANIFEST]
    assert json.loads(before[next(path for path in before if path.name == MANIFEST)]) == names


def test_two_processes_compose_one_set(tmp_path):
    code = (
        "import sys; from pathlib import Path; from benchmark.embedded import composer;"
        "composer.COMPOSED = Path(sys.argv[1]); print(composer.ensure_pretraining_images(40, 32, 0))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate(timeout=120)[0] for process in both)
    assert first == second
    assert len(list(tmp_path.rglob("*.jpg"))) == 40


def test_a_place_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(composer, "COMPOSED", tmp_path / "file" / "embedded")
    with pytest.raises(UserError, match="cannot be composed in"):
        composer.ensure_coco(1, 1, 32, 0)
