"""The loop and the hooks of both halves: what is logged, when a checkpoint is written, how an error ends the loop."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from detectron2.engine import HookBase

from pretrain.engine.account import Account
from pretrain.engine.checkpoint import LAST, load_checkpoint
from pretrain.engine.failures import Diverged
from pretrain.engine.hooks import Agreement, Checkpoints, Metrics
from pretrain.engine.loop import TrainingLoop


class Counting(TrainingLoop):
    """A loop whose step counts; at the iterations of `bad` its weights are not finite."""

    def __init__(self, steps, log_every=1, bad=(), values=None):
        super().__init__(steps, log_every, images_per_iteration=8)
        self.bad, self.values, self.taken = bad, values or {}, []

    def run_step(self):
        self.taken.append(self.iteration)

    def scalars(self):
        return {"loss": -float(self.iteration), "lr": 0.1, **self.values}

    def state(self):
        weight = math.nan if self.iteration in self.bad else float(self.iteration)
        return {**super().state(), "model": {"weight": torch.tensor(weight)}}


class Remembering(HookBase):
    """A hook with a state: the iterations it has seen."""

    def __init__(self):
        self.seen = []

    def after_step(self):
        self.seen.append(self.trainer.iteration)

    def state_dict(self):
        return {"seen": list(self.seen)}

    def load_state_dict(self, state):
        self.seen = list(state["seen"])


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def saving(folder, minutes=1e9, due=lambda done: False, account=None):
    return [Agreement(due, minutes), Checkpoints(folder, account or Account(), {"identity": "it"})]


@pytest.mark.parametrize(("steps", "every", "logged"), [(7, 3, [1, 3, 6, 7]), (1, 10, [1]), (4, 1, [1, 2, 3, 4])])
def test_the_first_every_nth_and_the_last_step_are_logged(tmp_path, steps, every, logged):
    loop = Counting(steps, log_every=every)
    loop.register_hooks([Metrics(tmp_path)])
    loop.train(0, steps)
    assert [line["iteration"] for line in lines(tmp_path)] == logged
    assert [line["loss"] for line in lines(tmp_path)] == [-float(i) for i in logged]


def test_speed_is_that_of_the_steps_since_the_last_line(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("pretrain.engine.hooks.time", SimpleNamespace(perf_counter=lambda: now[0]))
    loop = Counting(5, log_every=5)
    loop.run_step = lambda: now.__setitem__(0, now[0] + 0.5)
    loop.register_hooks([Metrics(tmp_path)])
    loop.train(0, 5)
    assert [(line["seconds_per_iteration"], line["images_per_second"]) for line in lines(tmp_path)] == [(0.5, 16.0)] * 2


def test_metrics_drop_the_steps_that_a_kill_undid(tmp_path):
    """Lines after the checkpoint that the run continues from, and a line cut short."""
    text = "".join(json.dumps({"iteration": i, "loss": -float(i)}) + "\n" for i in (1, 2, 3, 4))
    (tmp_path / "metrics.json").write_text(text + '{"iteration": 5, "lo')
    loop = Counting(3)
    loop.register_hooks([Metrics(tmp_path)])
    loop.train(2, 3)
    assert [(line["iteration"], line["loss"]) for line in lines(tmp_path)] == [(1, -1.0), (2, -2.0), (3, -3.0)]


def test_a_value_that_is_not_finite_is_left_out_of_the_json(tmp_path):
    loop = Counting(1, values={"gradient_norm": math.inf, "rank": math.nan})
    loop.register_hooks([Metrics(tmp_path)])
    loop.train(0, 1)
    assert set(lines(tmp_path)[0]) == {"iteration", "loss", "lr", "images_per_second", "seconds_per_iteration"}


def test_a_checkpoint_is_also_written_when_the_minutes_have_passed(tmp_path, monkeypatch):
    """So that a kill costs minutes, not an epoch of hours; the account's seconds go into it."""
    now = [0.0]
    monkeypatch.setattr("pretrain.engine.hooks.time", SimpleNamespace(monotonic=lambda: now[0]))
    written = []

    class Looking(HookBase):
        def before_step(self):
            now[0] += 50.0

        def after_step(self):
            written.append(load_checkpoint(tmp_path / LAST)["iteration"] if (tmp_path / LAST).exists() else None)

    loop = Counting(9)
    account = Account()
    account.seconds_before = 7000.0
    loop.register_hooks([*saving(tmp_path, minutes=2.0, account=account), Looking()])
    loop.train(0, 9)
    assert written == [None, None, 3, 3, 3, 6, 6, 6, 9]
    last = load_checkpoint(tmp_path / LAST)
    assert 7000.0 <= last["seconds"] < 7060.0
    assert last["identity"] == "it"


def test_weights_that_are_not_finite_do_not_replace_good_ones(tmp_path):
    loop = Counting(3, bad=(2, 3))
    loop.register_hooks(saving(tmp_path, due=lambda done: True))
    loop.train(0, 3)
    assert load_checkpoint(tmp_path / LAST)["iteration"] == 1


def test_hooks_go_on_with_what_they_remembered(tmp_path):
    first, remembering = Counting(4), Remembering()
    first.register_hooks([Agreement(lambda done: done == 2, 1e9), remembering, *saving(tmp_path)[1:]])
    first.train(0, 4)
    second, again = Counting(4), Remembering()
    second.register_hooks([again])
    start = second.load_state(load_checkpoint(tmp_path / LAST))
    assert (start, again.seen) == (2, [1, 2])
    second.train(start, 4)
    assert again.seen == remembering.seen == [1, 2, 3, 4]


def test_an_error_at_the_end_does_not_hide_the_first_one(tmp_path):
    ended = []

    class Failing(HookBase):
        def after_train(self):
            raise OSError("the folder is gone")

    class Ending(HookBase):
        def after_train(self):
            ended.append(True)

    loop = Counting(3)
    loop.run_step = lambda: (_ for _ in ()).throw(Diverged("loss", 1, 0.1))
    loop.register_hooks([Failing(), Ending()])
    with pytest.raises(Diverged, match="the loss is not finite at iteration 1"):
        loop.train(0, 3)
    assert ended == [True]
