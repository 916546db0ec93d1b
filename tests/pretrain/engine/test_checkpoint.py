"""The checkpoint: what it holds, that reading it runs nothing, and that a bad one is refused in one sentence."""

import pickle

import pytest
import torch
from safetensors import safe_open

from benchmark.core.errors import UserError
from pretrain.engine.checkpoint import (
    FORMAT_VERSION,
    LAST,
    PREVIOUS,
    NoGoodCheckpoint,
    continue_from,
    load_checkpoint,
    numbered,
    save_checkpoint,
)
from pretrain.engine.export import export_backbone
from pretrain.engine.tensor_hash import tensors_sha256
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


def test_the_checkpoint_before_is_kept_and_used_when_the_last_is_damaged(tmp_path, capsys):
    for iteration in (3, 6, 9):
        save_checkpoint(tmp_path / LAST, {"iteration": iteration})
    assert load_checkpoint(tmp_path / PREVIOUS)["iteration"] == 6
    content = bytearray((tmp_path / LAST).read_bytes())
    content[content.index(b"iteration") + 1] ^= 1
    (tmp_path / LAST).write_bytes(content)
    assert continue_from(tmp_path, lambda content: content["iteration"]) == 6
    said = capsys.readouterr().err
    assert "warning:" in said
    assert "Going on from checkpoint.previous.pth, iteration 6" in said
    assert not (tmp_path / LAST).exists()
    save_checkpoint(tmp_path / LAST, {"iteration": 7})  # the damaged file must not push out the good one
    assert load_checkpoint(tmp_path / PREVIOUS)["iteration"] == 6


def test_no_checkpoint_is_a_beginning_and_only_damaged_ones_are_a_failure(tmp_path):
    assert continue_from(tmp_path, lambda content: content["iteration"]) == 0
    for name in (LAST, PREVIOUS):
        (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(NoGoodCheckpoint, match=r"checkpoint.pth is damaged .*checkpoint.previous.pth is damaged"):
        continue_from(tmp_path, lambda content: content["iteration"])
    assert (tmp_path / LAST).read_bytes() == b"PK"


def test_what_a_checkpoint_lacks_makes_it_damaged(tmp_path, capsys):
    save_checkpoint(tmp_path / LAST, {"iteration": 3})
    save_checkpoint(tmp_path / LAST, {"epoch": 1})
    assert continue_from(tmp_path, lambda content: content["iteration"]) == 3
    assert "it has no 'iteration'" in capsys.readouterr().err


def test_a_mistake_of_the_user_is_no_damage(tmp_path):
    def another(content):
        raise UserError("it is of another run")

    save_checkpoint(tmp_path / LAST, {"iteration": 3})
    with pytest.raises(UserError, match="another run"):
        continue_from(tmp_path, another)
    assert (tmp_path / LAST).exists()


def test_the_hash_of_tensors_is_that_of_their_values():
    weights = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    same = {"b": torch.tensor(1), "a": weights.to(memory_format=torch.channels_last)}
    found = tensors_sha256({"a": weights, "b": torch.tensor(1)})
    assert found == tensors_sha256(same)
    assert len(found) == 64
    others = [
        {"a": weights, "c": torch.tensor(1)},
        {"a": weights, "b": torch.tensor(2)},
        {"a": weights.view(3, 4, 2, 2), "b": torch.tensor(1)},
        {"a": weights, "b": torch.tensor(1, dtype=torch.int32)},
        {"a": weights.bfloat16(), "b": torch.tensor(1)},
        {"a": -weights, "b": torch.tensor(1)},
        {"a": weights},
    ]
    assert len({found, *map(tensors_sha256, others)}) == len(others) + 1


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
    with pytest.raises(UserError, match="cannot be read"):
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
        assert file.metadata() == {"method": "kernel_ssl", "epoch": "3", "weights_sha256": tensors_sha256(state)}
        assert set(file.keys()) == set(state)
        assert all(torch.equal(file.get_tensor(name), state[name]) for name in state)
    again = tmp_path / "again.safetensors"
    export_backbone(again, state, {"epoch": 3, "method": "kernel_ssl"})
    assert again.read_bytes() == (tmp_path / "backbone.safetensors").read_bytes()
    import torchvision

    network = torchvision.models.resnet18()
    missing = network.load_state_dict(state, strict=False)
    assert (missing.missing_keys, missing.unexpected_keys) == (["fc.weight", "fc.bias"], [])
