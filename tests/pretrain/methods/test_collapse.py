"""Methods without the part that keeps them from collapsing are caught by the failure signatures, on real images."""

import pytest
import torch

from benchmark.embedded.composer import ensure_pretraining_images
from pretrain.images.listing import list_images
from pretrain.losses import simsiam_loss
from pretrain.methods.base import LossResult
from pretrain.methods.byol import BYOL
from pretrain.methods.simsiam import SimSiam
from pretrain.training.hooks import FailureSignatures
from pretrain.training.trainer import PretrainTrainer
from tests.pretrain.methods.small import small_config

STEPS = 30


@pytest.fixture(scope="module")
def photographs():
    return list_images(ensure_pretraining_images(64, 96, 0))


def with_gradient_through_both(self, rows, targets, labels=None, details=False):
    p_1, p_2, z_1, z_2 = rows
    drawn = simsiam_loss(p_1, p_2, z_1, z_2) + simsiam_loss(z_1, z_2, p_1, p_2)
    return LossResult(drawn / 2)


def collapsed(name, paths, **changes):
    """Train for some steps at a high learning rate; return the names of the signatures that were found."""
    config = small_config(
        name, **{"batch_size": 16, "epochs": 15, "lr": 8.0, "warmup_epochs": 0.0, "log_every": 1, "optimizer": "sgd",
                 "weight_decay": 1e-4, "projector_width": 32, **changes}
    )  # fmt: skip
    trainer = PretrainTrainer(config, paths, torch.device("cpu"))
    signatures = FailureSignatures(lambda text: None, window=10)
    trainer.register_hooks([signatures])
    trainer.train(0, STEPS)
    return {found.split(" of the ")[0] for found in signatures.found}


def test_simsiam_without_stopping_the_gradient(photographs, monkeypatch):
    monkeypatch.setattr(SimSiam, "loss", with_gradient_through_both)
    assert "collapse" in collapsed("simsiam", photographs)


def test_byol_without_a_predictor(photographs, monkeypatch):
    build = BYOL.build

    def without_predictor(self, features):
        build(self, features)
        self.predictor = torch.nn.Identity()

    monkeypatch.setattr(BYOL, "build", without_predictor)
    assert "collapse" in collapsed("byol", photographs, ema=0.5)


def test_vicreg_without_variance(photographs):
    assert "collapse" in collapsed("vicreg", photographs, std_coeff=0.0, lr=2.0)


def test_a_whole_method_does_not_collapse_so_soon(photographs):
    assert "collapse" not in collapsed("vicreg", photographs, lr=0.5)
