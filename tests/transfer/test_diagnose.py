"""``diagnose.py``: any checkpoint that converts; backbone and projector; both names of the command; mistakes."""

import json
import subprocess
import sys

import pytest
import torch
import torchvision

from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from pretrain.engine.checkpoint import save_checkpoint
from pretrain.engine.tensor_hash import tensors_sha256
from pretrain.methods.registry import make_method
from pretrain.training.work import about_weights
from tests.pretrain.methods.small import METHODS, batch, register_example_for, small_method
from tests.pretrain.runs import config, environment, pictures
from transfer.checkpoints.weights import resolve_weights
from transfer.diagnose import main
from transfer.probing.diagnosis import head_from

SMALL = ["--images", "12", "--image-size", "32", "--views", "2", "--bootstrap", "3", "--device", "cpu"]


@pytest.fixture(autouse=True)
def example(monkeypatch):
    """Here too the example of docs/adding_a_method.md is one of the methods."""
    register_example_for(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two class folders, a checkpoint of ours with statistics that are not the initial ones, and a foreign one."""
    folder = tmp_path_factory.mktemp("diagnose")
    for name in "ab":
        pictures(folder / "data" / name, 8)
    method = make_method(config()).train()
    for seed in range(3):
        method.encode((torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(seed)),) * 2)
    content = {"model": method.state_dict(), "method": "kernel_ssl", "epoch": 3, "total_epochs": 9, "iteration": 3}
    save_checkpoint(folder / "ours.pth", content | {"optimizer": {}, "rng": torch.get_rng_state(), "config": {}})
    torch.manual_seed(0)
    torch.save({"state_dict": torchvision.models.resnet50().state_dict()}, folder / "foreign.pth")
    return folder


def diagnose(folder, word, *more):
    output = folder / "found.json"
    assert main([str(word), "--data", str(folder / "data"), "--output", str(output), *SMALL, *more]) == 0
    return json.loads(output.read_text())


def test_a_checkpoint_of_ours_has_backbone_and_projector(folder, capsys):
    found = diagnose(folder, folder / "ours.pth")
    said = capsys.readouterr().out
    assert "backbone, 512 dimensions" in said
    assert "projector, 32 dimensions" in said
    assert found["weights"]["method"] == "kernel_ssl"
    assert found["weights"]["epoch"] == 3
    assert found["images"]["count"] == 12
    assert found["images"]["classes"] == 2
    for layer, dimensions in (("backbone", 512), ("projector", 32)):
        entry = found["layers"][layer]
        assert entry["dimensions"] == dimensions
        assert len(entry["spectrum"]) == min(12, dimensions)
        for name, measured in entry["measures"].items():
            assert measured["definition"], name
            assert measured["samples"] in (12, 24), name
    both = [found["layers"][layer]["measures"]["effective_rank"] for layer in ("backbone", "projector")]
    assert all(1 <= m["low"] <= m["value"] <= m["high"] or m["value"] >= 1 for m in both)
    momentum = diagnose(folder, folder / "ours.pth", "--branch", "momentum")
    assert momentum["layers"]["projector"]["dimensions"] == 32
    assert momentum["layers"]["projector"]["spectrum"] != found["layers"]["projector"]["spectrum"]


@pytest.mark.parametrize("name", METHODS)
def test_the_projector_is_the_methods_own(name):
    """Rebuilt from its tensors alone it gives what the method's own projector gives in eval mode."""
    method = small_method(name)
    method.encode(batch(method)[0])  # statistics that are not the initial ones
    method.eval()
    tensors = {k.removeprefix("projector."): t for k, t in method.state_dict().items() if k.startswith("projector.")}
    pixels = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    encoded = method.encode((pixels,) * method.views)
    if encoded.projection is None:
        assert not tensors
    else:
        found = head_from(tensors)(encoded.features)
        torch.testing.assert_close(found, encoded.projection, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tensors", [{}, {"weight": torch.zeros(2, 2)}, {"0.conv.weight": torch.zeros(2, 2)}])
def test_what_is_no_head_of_ours_is_none(tensors):
    assert head_from(tensors) is None


def test_a_foreign_checkpoint_and_the_untrained_encoder(folder):
    found = diagnose(folder, folder / "foreign.pth", "--bootstrap", "0")
    assert list(found["layers"]) == ["backbone"]
    assert found["layers"]["backbone"]["dimensions"] == 2048
    assert found["layers"]["backbone"]["measures"]["effective_rank"]["low"] is None
    first, again = (diagnose(folder, "random", "--arch", "resnet18") for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "0 checkpoints are given"),
        (["a.pth", "b.pth"], "2 checkpoints are given"),
        (["random", "--views", "1"], "--views is 1"),
        (["random", "--images", "1"], "--images is 1"),
        (["random", "--bootstrap", "1"], "--bootstrap is 1"),
        (["absent.pth"], r"absent\.pth"),
        (["random", "--data", "absent"], "no folder absent"),
        (["random", "--output", "."], "is a folder"),
        (["random", "--output", "/proc/there/found.json"], "cannot be written"),
    ],
)
def test_mistakes_are_one_sentence(words, message):
    with pytest.raises(UserError, match=message) as caught:
        main(words)
    assert "\n" not in str(caught.value)


def test_the_command_beside_pretrain_is_the_same(folder, tmp_path):
    command = [sys.executable, str(ROOT / "pretrain" / "diagnose.py"), str(folder / "ours.pth"), *SMALL]
    command += ["--data", str(folder / "data"), "--output", str(tmp_path / "found.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "found.json").read_text()) == diagnose(folder, folder / "ours.pth")
    wrong = subprocess.run([*command[:2], "--nonsense", "1"], capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: there is no option --nonsense")


def test_the_record_of_a_pretraining_names_the_weights_by_the_hash_that_probes_and_detectors_give_them(folder):
    """The report joins their records by it."""
    converted = resolve_weights(str(folder / "ours.pth")).tensors
    assert about_weights(folder / "ours.pth")["weights_sha256"] == tensors_sha256(converted)
