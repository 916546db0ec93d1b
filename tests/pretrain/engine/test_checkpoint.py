"""The checkpoint: what it holds, that reading it runs nothing, and that a bad one is refused in one sentence."""

import pickle

import pytest
import torch
from safetensors import safe_open

from benchmark.core.errors import UserError
from pretrain.engine.checkpoint import FORMAT_VERSION, LAST, export_backbone, load_checkpoint, numbered, save_checkpoint
from pretrain.networks.encoder import untrained_backbone

CONTENT = {"model": {"w": torch.arange(6.0).view(2, 3)}, "epoch": 3, "config": {"lr": 0.5, "keep_epochs": [1, 2]}}


def test_round_trip(tmp_path):
    save_checkpoint(tmp_path / LAST, CONTENT)
    content = load_checkpoint(tmp_path / LAST)
    assert torch.equal(content.pop("model")["w"], CONTENT["model"]["w"])
    assert content == {"epoch": 3, "config": CONTENT["config"], "format_version": FORMAT_VERSION}
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_a_failed_write_leaves_the_old_checkpoint_and_nothing_else(tmp_path):
    save_checkpoint(tmp_path / LAST, CONTENT)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        save_checkpoint(tmp_path / LAST, {"model": torch.zeros(100_000), "bad": lambda: None})
    assert load_checkpoint(tmp_path / LAST)["epoch"] == 3
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_names_count_completed_epochs():
    assert [numbered(epoch) for epoch in (1, 400, 12345)] == [
        "checkpoint_0001.pth",
        "checkpoint_0400.pth",
        "checkpoint_12345.pth",
    ]


class Executes:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('executed').touch()",))


def test_reading_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format_version": FORMAT_VERSION, "model": Executes()}, tmp_path / LAST)
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / LAST)
    assert not (tmp_path / "executed").exists()


def test_bad_files_are_refused_in_one_sentence(tmp_path):
    def refused(name):
        with pytest.raises(UserError) as error:
            load_checkpoint(tmp_path / name)
        assert "\n" not in str(error.value)
        assert name in str(error.value)
        return str(error.value)

    assert "there is no checkpoint" in refused("absent.pth")
    save_checkpoint(tmp_path / "whole.pth", CONTENT)
    whole = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    assert "damaged" in refused("cut.pth")
    (tmp_path / "empty.pth").write_bytes(b"")
    assert "damaged" in refused("empty.pth")
    torch.save({"state_dict": {}}, tmp_path / "foreign.pth")
    assert "transfer/convert.py" in refused("foreign.pth")
    torch.save([1], tmp_path / "list.pth")
    assert "transfer/convert.py" in refused("list.pth")
    torch.save({"format_version": FORMAT_VERSION + 1}, tmp_path / "newer.pth")
    assert f"has format {FORMAT_VERSION + 1}" in refused("newer.pth")


def test_the_exported_backbone_is_torchvisions_and_says_what_it_is(tmp_path):
    state = untrained_backbone("resnet18", 0)
    export_backbone(tmp_path / "backbone.safetensors", state, {"method": "kernel_ssl", "epoch": 3})
    with safe_open(tmp_path / "backbone.safetensors", "pt") as file:
        assert file.metadata() == {"method": "kernel_ssl", "epoch": "3"}
        assert set(file.keys()) == set(state)
        assert all(torch.equal(file.get_tensor(name), state[name]) for name in state)
    again = tmp_path / "again.safetensors"
    export_backbone(again, state, {"epoch": 3, "method": "kernel_ssl"})
    assert again.read_bytes() == (tmp_path / "backbone.safetensors").read_bytes()
    import torchvision

    network = torchvision.models.resnet18()
    missing = network.load_state_dict(state, strict=False)
    assert (missing.missing_keys, missing.unexpected_keys) == (["fc.weight", "fc.bias"], [])
