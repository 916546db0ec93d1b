"""The installation of Detectron2: whole or not at all, and an installed one is left alone."""

import subprocess
from pathlib import Path

import pytest

from benchmark import install_detectron2


def make_staging(folder: Path) -> Path:
    staging = folder / ".detectron2-unfinished"
    for name in ("detectron2", "sal_detectron2-0.7.2.dist-info", "zz_other"):
        (staging / name).mkdir(parents=True)
        (staging / name / "file").write_text(name)
    return staging


def test_the_package_appears_last_and_replaces_what_was_there(tmp_path, monkeypatch):
    staging, order, rename = make_staging(tmp_path), [], Path.rename
    (tmp_path / "zz_other").mkdir()
    (tmp_path / "zz_other" / "old").write_text("")
    monkeypatch.setattr(Path, "rename", lambda self, target: order.append(self.name) or rename(self, target))
    install_detectron2.move_into(staging, tmp_path)
    assert order[-1] == "detectron2"
    assert (tmp_path / "detectron2" / "file").read_text() == "detectron2"
    assert [path.name for path in (tmp_path / "zz_other").iterdir()] == ["file"]
    assert not staging.exists()


@pytest.mark.parametrize("code", [0, 1])
def test_pip_unpacks_into_a_folder_that_python_does_not_see(tmp_path, monkeypatch, capsys, code):
    """A kill between pip's files leaves nothing that passes for Detectron2; a failure neither."""
    monkeypatch.setattr(install_detectron2.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(install_detectron2.sysconfig, "get_paths", lambda: {"purelib": str(tmp_path)})

    def pip(command):
        target = Path(command[command.index("--target") + 1])
        assert not (tmp_path / "detectron2").exists()
        assert "--require-hashes" in command
        make_staging(target.parent)
        (target / "tools").mkdir()
        (target / "detectron2" / "_C.cpython-310.so").write_text("")
        return code

    monkeypatch.setattr(subprocess, "call", pip)
    (tmp_path / ".detectron2-unfinished" / "left").mkdir(parents=True)
    assert install_detectron2.main() == code
    if code == 0:
        assert {path.name for path in (tmp_path / "detectron2").iterdir()} == {"file"}
    else:
        assert "could not be installed" in capsys.readouterr().err
    assert (tmp_path / "detectron2").exists() == (code == 0)
    assert not (tmp_path / "tools").exists()
    assert not (tmp_path / ".detectron2-unfinished").exists()


def test_an_installed_one_is_left_alone(monkeypatch):
    monkeypatch.setattr(subprocess, "call", lambda command: pytest.fail("pip was called"))
    assert install_detectron2.main() == 0
