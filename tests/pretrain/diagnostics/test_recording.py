"""Diagnostics over training: written every so many epochs, without a trace in the run's result."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from pretrain.diagnostics.measures import measure
from pretrain.diagnostics.recording import IMAGES, VIEWS, RecordDiagnostics
from pretrain.diagnostics.sample import extract, make_sample
from pretrain.engine.checkpoint import LAST, load_checkpoint
from pretrain.engine.processes import choose_device
from pretrain.images.listing import list_images
from pretrain.images.loading import normalised
from pretrain.networks.encoder import build_backbone
from pretrain.training.trainer import PretrainTrainer
from tests.pretrain.runs import call, config, flags, pictures


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two equal runs of three epochs, the second with diagnostics every two."""
    folder = tmp_path_factory.mktemp("runs")
    for i, name in enumerate("ab"):  # 17 pictures: two steps an epoch
        pictures(folder / "data" / name, 8 + i)
    for name, every in (("plain", 0), ("watched", 2)):
        done = call(flags(folder, output=folder / name, epochs=3, diagnose_every=every))
        assert done.returncode == 0, done.stderr
    return folder


def test_the_runs_result_is_the_same_bit_for_bit(runs):
    plain, watched = (load_checkpoint(runs / name / LAST)["model"] for name in ("plain", "watched"))
    assert plain.keys() == watched.keys()
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
    assert not (runs / "plain" / "diagnostics.json").exists()


def test_every_second_epoch_and_the_last_have_an_entry(runs):
    content = json.loads((runs / "watched" / "diagnostics.json").read_text())
    assert list(content["epochs"]) == ["2", "3"]
    assert content["images"]["count"] == 17
    for entry in content["epochs"].values():
        assert entry["backbone"]["dimensions"] == 512
        assert entry["projector"]["dimensions"] == 32
        for layer in entry.values():
            assert {"effective_rank", "rankme", "lidar", "alignment", "intra_class_effective_rank"} <= set(
                layer["measures"]
            )
    ranks = [entry["backbone"]["measures"]["effective_rank"]["value"] for entry in content["epochs"].values()]
    assert ranks[0] != ranks[1]


def test_the_entry_is_what_the_checkpoint_gives(runs):
    """The same sample through the last checkpoint's weights, with a network made anew."""
    encoder = build_backbone("resnet18").eval()
    model = load_checkpoint(runs / "watched" / LAST)["model"]
    encoder.load_state_dict({n.removeprefix("encoder."): t for n, t in model.items() if n.startswith("encoder.")})
    sample = make_sample(list_images(runs / "data"), IMAGES, 32, VIEWS, seed=0)
    found = extract(sample, lambda pixels: {"backbone": encoder(normalised(pixels, torch.device("cpu")))}, show=False)
    expected = measure(found.layers["backbone"], replicates=0)["measures"]
    entry = json.loads((runs / "watched" / "diagnostics.json").read_text())["epochs"]["3"]["backbone"]["measures"]
    for name, measured in entry.items():
        assert measured["value"] == pytest.approx(expected[name]["value"], rel=1e-3), name


@pytest.mark.parametrize("content", ["", "{", '{"epochs": {"x": 1}}', '{"epochs": {"9": {}, "1": {"old": 1}}}', "[]"])
def test_a_repeated_epoch_replaces_its_entry_and_a_damaged_file_is_begun_anew(runs, content, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(runs / "plain", folder)
    (folder / LAST).unlink()
    (folder / "diagnostics.json").write_text(content)
    trainer = PretrainTrainer(config(epochs=3), list_images(runs / "data"), choose_device("cpu"))
    hook = RecordDiagnostics(folder, 2)
    hook.trainer = SimpleNamespace(
        config=trainer.config, paths=trainer.paths, method=trainer.method, device=trainer.device,
        iteration=4, iterations_per_epoch=2, epoch=2,
    )  # fmt: skip
    hook.before_train()
    hook.after_step()
    found = json.loads((folder / "diagnostics.json").read_text())["epochs"]
    assert list(found) == (["1", "2"] if "old" in content else ["2"])
    assert trainer.method.training
