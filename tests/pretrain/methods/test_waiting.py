"""A step that is not logged reads no number from the device but its loss and gradient norm, both at once.

On a GPU every such reading waits for all that was asked of the device before; here the readings are counted on a CPU.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pretrain.images.listing import list_images
from pretrain.training.trainer import PretrainTrainer
from tests.pretrain.methods.small import METHODS, small_config
from tests.pretrain.runs import pictures

READINGS = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "unique")


class Readings(TorchDispatchMode):
    """Counts the operations whose result Python, or the next size, waits for."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        name = function.overloadpacket.__name__
        if any(name.startswith(reading) for reading in READINGS):
            self.found.append(name)
        return function(*arguments, **(named or {}))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name in ("a", "b"):
        pictures(folder / name, 24)
    return list_images(folder)


def readings(trainer):
    with Readings() as counted:
        trainer.run_step()
    return counted.found


@pytest.mark.parametrize("name", METHODS)
def test_a_step_that_is_not_logged_reads_nothing_on_its_way(name, paths):
    trainer = PretrainTrainer(small_config(name, data="photos", workers=0, log_every=100), paths, torch.device("cpu"))
    trainer.iter = trainer.start_iter = 0
    trainer.before_train()
    assert readings(trainer)  # the first step is logged: the count is no constant
    for trainer.iter in range(1, 4):  # SwAV looks whether its queue is full until it is
        trainer.run_step()
    trainer.iter = 4
    assert not trainer.logs_this_step
    assert readings(trainer) == []
