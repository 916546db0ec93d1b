"""How far two uninterrupted runs are apart on a GPU, and whether a resumed one is further: what bf16 adds to both.

An earlier session found a resumed run in bf16 3.7 % from an uninterrupted one and could not say why. Processes choose
cuDNN's algorithms anew (``cudnn.benchmark``), and kernels add in no fixed order; either would part two uninterrupted
runs as well. With both switched off, a resumed run has to be the uninterrupted one.
"""

import copy
import json

import pytest
import torch

from pretrain.training.trainer import PretrainTrainer
from tests.gpu.setting import DEVICE, batch_size, config, paths
from tests.gpu.test_pretraining import KILLED, call, command, losses_of

BATCH = batch_size(64)
STEPS, CUT = 8, 5
OFTEN = "--checkpoint-minutes=0.0001"


def apart(first, second):
    assert first.keys() == second.keys()
    return max(abs(first[i] - second[i]) / abs(first[i]) for i in first)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_resumed_run_is_no_further_than_a_repeated_one(precision, tmp_path, record_property):
    folders = [tmp_path / name for name in ("whole", "again", "cut")]
    more = (f"--precision={precision}", OFTEN)
    assert call(command(folders[2], *more), ["-c", KILLED]).returncode == 9
    for folder in folders:
        done = call(command(folder, *more))
        assert done.returncode == 0, done.stderr[-2000:]
    whole, again, cut = (losses_of(folder) for folder in folders)
    assert len(whole) == STEPS
    repeated, resumed = apart(whole, again), apart(whole, cut)
    record_property("two uninterrupted runs, relative", repeated)
    record_property("resumed against uninterrupted, relative", resumed)
    record_property("losses, whole, again, cut", json.dumps([list(x.values()) for x in (whole, again, cut)]))
    assert resumed <= 3 * repeated + 0.005


@pytest.fixture
def deterministic():
    """One algorithm for every operation, and sums in one order."""
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = before


def losses(precision, start=None):
    """Return the loss of each iteration, and the state after ``CUT`` of them; `start`: a state to go on with."""
    settings = config(batch_size=BATCH, warmup_epochs=0.0, lr=0.05, precision=precision)
    trainer = PretrainTrainer(settings, paths(BATCH * STEPS), DEVICE)
    found, kept, run_step = {}, [], trainer.run_step

    def watched():
        run_step()
        found[trainer.iteration] = trainer.last.loss
        if trainer.iteration == CUT:
            kept.append(copy.deepcopy(trainer.state()))

    trainer.run_step = watched
    trainer.train(trainer.load_state(start) if start else 0, STEPS)
    return found, kept[0] if kept else None


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_with_one_order_of_sums_a_resumed_run_is_the_uninterrupted_one(precision, deterministic, record_property):
    whole, state = losses(precision)
    again, _ = losses(precision)
    resumed, _ = losses(precision, state)
    assert len(set(whole.values())) == STEPS
    record_property("two uninterrupted runs, relative", apart(whole, again))
    after = {i: whole[i] for i in resumed}
    assert list(after) == list(range(CUT + 1, STEPS + 1))
    record_property("resumed against uninterrupted, relative", apart(after, resumed))
    assert resumed == after or whole != again  # where sums still have no fixed order, nothing can be said
