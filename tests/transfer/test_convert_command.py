"""transfer/convert.py as users call it: --inspect, where it writes, mistakes on the command line."""

import subprocess
import sys

import pytest
import torch
import torchvision

from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of_file
from benchmark.core.folder import ROOT
from tests.transfer.checkpoints.converted import is_exactly, saved
from tests.transfer.checkpoints.layout_files import (
    FILES,
    light,
    under,
)
from transfer.convert import main

ONLINE, MOMENTUM = light(0), light(1)
MOCO = FILES["moco"][1](ONLINE, MOMENTUM)


def test_inspect_says_it_all_and_writes_nothing(tmp_path, capsys):
    content = FILES["dino"][1](ONLINE, MOMENTUM)
    path = saved(content, tmp_path, "dino.pth")
    assert main([str(path), "--inspect"]) == 0
    told = capsys.readouterr().out
    assert "dino (DINO)" in told
    assert "online          under 'student.backbone.': 265 of 265" in told
    assert "momentum        under 'teacher.backbone.': 265 of 265" in told
    assert "epoch           800\ntotal epochs    800" in told
    assert f"sha256          {sha256_of_file(path)}" in told
    assert [item.name for item in tmp_path.iterdir()] == ["dino.pth"]


def test_inspect_of_files_that_cannot_be_converted(tmp_path, capsys):
    assert main([str(saved({"x.weight": torch.ones(3)}, tmp_path)), "--inspect"]) == 0
    assert "none: it looks like no ResNet" in capsys.readouterr().out
    assert main([str(saved(under("slow.", ONLINE), tmp_path)), "--inspect"]) == 0
    assert "take it by --layout at:slow" in capsys.readouterr().out


def test_inspect_tells_likeness_and_epochs_of_what_is_refused(tmp_path, capsys):
    small = torchvision.models.resnet34().state_dict()
    assert main([str(saved({"epoch": 7, "state_dict": under("module.encoder_k.", small)}, tmp_path)), "--inspect"]) == 0
    told = capsys.readouterr().out
    assert "it looks like MoCo v1 / v2, HCSC, MSF, SlotCon with ResNet-34" in told
    assert "refused: " in told
    assert "has no online branch" in told
    assert "method          unknown\nepoch           7\ntotal epochs    unknown" in told


def call(*arguments, folder):
    script = str(ROOT / "transfer" / "convert.py")
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, cwd=folder, timeout=120)


def test_the_command_as_users_call_it(tmp_path):
    saved(MOCO, tmp_path, "moco.pth.tar")
    done = call("moco.pth.tar", "--output", "out/d2.pth", "--branch", "momentum", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "265 of 265 tensors" in done.stdout
    assert is_exactly(torch.load(tmp_path / "out/d2.pth", weights_only=True), MOMENTUM)
    done = call("moco.pth.tar", "--layout", "dino", "--output", "no.pth", folder=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (2, 1, "")
    assert not (tmp_path / "no.pth").exists()


def test_another_file_is_not_overwritten_unasked(tmp_path, capsys):
    path = saved(MOCO, tmp_path, "moco.pth.tar")
    assert main([str(path)]) == 0
    assert (tmp_path / "moco.detectron2.pth").is_file()
    assert main([str(path)]) == 0
    assert "already holds exactly this" in capsys.readouterr().out
    with pytest.raises(UserError, match="--overwrite"):
        main([str(path), "--branch", "momentum"])
    assert main([str(path), "--branch", "momentum", "--overwrite"]) == 0
    with pytest.raises(UserError, match="the checkpoint itself"):
        main([str(path), "--output", str(path)])


@pytest.mark.parametrize("name", ["n" * 300, "file.pth/x.pth"])
def test_an_output_that_cannot_be_written(name, tmp_path):
    path = saved(MOCO, tmp_path)
    with pytest.raises(UserError, match=r"cannot be written|longer than a name of a file can be"):
        main([str(path), "--output", str(tmp_path / name)])
    assert [item.name for item in tmp_path.iterdir()] == ["file.pth"]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("lr0.1.pth", "lr0.1.detectron2.pth"),
        ("epoch=99-step=1.5.ckpt", "epoch=99-step=1.5.detectron2.pth"),
        ("R-50.pkl", "R-50.detectron2.pth"),
        (".hidden.pth", ".hidden.detectron2.pth"),
        ("with space \u00fc", "with space \u00fc.detectron2.pth"),
    ],
)
def test_the_default_output_has_the_checkpoint_s_name(name, written, tmp_path):
    assert main([str(saved(MOCO, tmp_path, name))]) == 0
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted([name, written])


def test_mistakes_on_the_command_line(tmp_path):
    for arguments, message in [
        ([], "0 files are given"),
        (["a", "b"], "2 files are given"),
        ([str(tmp_path / "absent.pth")], "there is no file"),
        ([str(saved(MOCO, tmp_path)), "--branch", "teacher"], "--branch has no value 'teacher'"),
    ]:
        with pytest.raises(UserError, match=message):
            main(arguments)
