"""Fine-tuning with few labels: which images, that it learns, and that it goes on where it was interrupted."""

import numpy as np
import pytest
import torch

from benchmark.core.errors import Stopped
from pretrain.engine.account import Account
from pretrain.engine.failures import Diverged
from pretrain.networks.encoder import build_backbone
from tests.transfer.probing.image_folders import COLOURS, coloured
from transfer.probing.features import extract
from transfer.probing.scores import accuracies, ranks
from transfer.probing.semi_supervised import (
    ClassifierTrainer,
    FineTuneSettings,
    balanced_subset,
    fine_tune_classifier,
    names_of,
)
from transfer.probing.splits import find_splits

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return find_splits(coloured(tmp_path_factory.mktemp("images")))


def trainer(images, seed=0, epochs=8, encoder_lr=0.005):
    torch.manual_seed(5)
    settings = FineTuneSettings(epochs, 4, encoder_lr, 0.05)
    encoder = build_backbone("resnet18")
    return ClassifierTrainer(encoder, 512, images, 3, settings, size=32, seed=seed, workers=0, device=CPU)


def test_subsets_are_balanced_nested_and_seeded(splits):
    train = splits[0]
    some, more = (balanced_subset(train, share, 3, 0) for share in (0.2, 0.5))
    assert [np.bincount(part.labels).tolist() for part in (some, more)] == [[2, 2, 2], [4, 4, 4]]
    assert set(names_of(some)) < set(names_of(more)) < set(names_of(train))
    assert all(name.startswith(sorted(COLOURS)[label]) for name, label in zip(names_of(some), some.labels, strict=True))
    assert names_of(balanced_subset(train, 0.2, 3, 0)) == names_of(some)
    assert names_of(balanced_subset(train, 0.2, 3, 1)) != names_of(some)
    assert np.bincount(balanced_subset(train, 0.001, 3, 0).labels).tolist() == [1, 1, 1]
    assert names_of(balanced_subset(train, 1.0, 3, 0)) == names_of(train)


def test_it_learns_the_colours_and_moves_the_encoder(splits, tmp_path):
    images = balanced_subset(splits[0], 0.5, 3, 0)
    made = trainer(images)
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    model = fine_tune_classifier(made, tmp_path / "run", "test", Account(), 60.0)
    assert not model.training
    assert not torch.equal(before["0.conv1.weight"], model.state_dict()["0.conv1.weight"])
    scores = extract(model, splits[1], size=32, batch=4, workers=0, device=CPU)
    assert accuracies(*ranks(lambda rows: rows, *scores.pair()))["top1"] > 60  # by colour; chance is 33


def test_an_interrupted_training_ends_with_the_same_weights(splits, tmp_path):
    images = balanced_subset(splits[0], 0.5, 3, 0)
    whole = fine_tune_classifier(trainer(images), tmp_path / "whole", "test", Account(), 60.0).state_dict()
    interrupted = trainer(images)
    step = interrupted.run_step

    def stop_after_five():
        step()
        if interrupted.iteration == 6:
            raise Stopped(15)

    interrupted.run_step = stop_after_five
    with pytest.raises(Stopped):
        fine_tune_classifier(interrupted, tmp_path / "cut", "test", Account(), 1e-9)
    again = trainer(images)
    found = fine_tune_classifier(again, tmp_path / "cut", "test", Account(), 60.0).state_dict()
    assert again.start_iter == 5
    assert all(torch.equal(whole[name], found[name]) for name in whole)


def test_a_loss_that_is_not_finite_is_a_divergence(splits, tmp_path):
    with pytest.raises(Diverged, match="few labels is not finite at iteration"):
        fine_tune_classifier(trainer(splits[0], encoder_lr=1e30), tmp_path, "test", Account(), 60.0)
