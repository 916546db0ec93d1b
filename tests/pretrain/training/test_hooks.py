"""Failure signatures, each forced; metrics after a kill; checkpoints when they are due."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from benchmark.core.errors import RunFailed
from pretrain.engine.checkpoint import load_checkpoint
from pretrain.training.hooks import EpochFiles, FailureSignatures, UnreadableImages
from pretrain.training.step import StepResult
from tests.pretrain.runs import config

WINDOW = 10


def result(loss=-1.0, norm=1.0, **parts):
    return StepResult(loss=loss, gradient_norm=norm, lr=0.1, parts=parts)


def run(hook, results, begin=0):
    """Show step results to a hook, as the trainer would."""
    for iteration, last in enumerate(results, start=begin + 1):
        hook.trainer = SimpleNamespace(last=last, iteration=iteration)
        hook.after_step()


def watch(results, warmup=0):
    """Show step results to the hook; return what it said and what it keeps for the record."""
    said = []
    hook = FailureSignatures(said.append, window=WINDOW, warmup=warmup)
    run(hook, results)
    return said, hook.found


def healthy(count):
    """A run as it should be: loss and gradient wander, features fill the space."""
    ranks = {"effective_rank_backbone": 20.0, "effective_rank_projector": 30.0}
    return [result(-1 - 0.01 * i, 5 + math.sin(i), **ranks) for i in range(count)]


def test_a_healthy_run_gives_no_warning():
    assert watch(healthy(5 * WINDOW)) == ([], {})


@pytest.mark.parametrize(
    ("bad", "name", "words"),
    [
        (result(norm=700.0), "exploding gradient", "its norm is 700, usually"),
        (result(norm=1e-5), "vanishing gradient", "its norm is 1e-05"),
        (result(effective_rank_projector=1.2), "collapse of the projector", "effective rank 1.20 of the projector"),
        (result(effective_rank_backbone=1.01), "collapse of the backbone", "effective rank 1.01 of the backbone"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_step_is_named_once_with_its_iteration(bad, name, words):
    said, found = watch([*healthy(2 * WINDOW), bad, bad])
    assert list(found) == [name]
    assert words in found[name]
    assert found[name].startswith(f"iteration {2 * WINDOW + 1}: ")
    assert said == [f"warning: {name} at iteration {2 * WINDOW + 1}: {found[name].split(': ', 1)[1]}."]


def test_a_gradient_of_zero_is_seen_at_once():
    assert "vanishing gradient" in watch([result(norm=0.0)])[1]


def test_a_run_is_watched_by_windows_of_fifty_iterations():
    hook = FailureSignatures([].append)
    run(hook, [result(-1.0, 5.0)] * 120)
    assert hook.found["loss does not move"].startswith("iteration 100: its mean over 50 iterations is -1")


@pytest.mark.parametrize(
    ("last", "found"),
    [
        (result(norm=200.0), []),  # a hundred times the usual norm of 2
        (result(norm=200.1), ["exploding gradient"]),
        (result(norm=2.0e-4), []),  # a ten thousandth of it
        (result(norm=1.9e-4), ["vanishing gradient"]),
        (result(effective_rank_projector=1.5), []),
        (result(effective_rank_projector=1.49), ["collapse of the projector"]),
    ],
)
def test_where_each_sign_begins(last, found):
    steady = [result(-1 - 0.01 * i, 2.0) for i in range(2 * WINDOW)]
    assert list(watch([*steady, last])[1]) == found


def test_a_norm_below_a_hundred_millionth_vanishes_whatever_is_usual():
    assert watch([result(norm=1.0e-8)])[1] == {}
    assert list(watch([result(norm=0.9e-8)])[1]) == ["vanishing gradient"]


def test_the_usual_norm_is_known_after_a_whole_window():
    steady = [result(-1 - 0.01 * i, 2.0) for i in range(WINDOW)]
    assert watch([*steady[:-1], result(-2.0, 900.0)])[1] == {}
    assert list(watch([*steady, result(-2.0, 900.0)])[1]) == ["exploding gradient"]


@pytest.mark.parametrize(("apart", "still"), [(1.75, True), (-1.75, True), (1.83, False), (-1.83, False)])
def test_a_loss_has_moved_when_its_means_are_four_standard_errors_apart(apart, still):
    """Both windows have variance 1, so the difference of their means has a standard error of sqrt(2 / 10)."""
    first, second = ([result(begin + (-1) ** i, 5.0) for i in range(WINDOW)] for begin in (0.0, apart))
    assert 4 * math.sqrt(2 / WINDOW) == pytest.approx(1.789, abs=1e-3)
    assert ("loss does not move" in watch([*first, *second])[1]) == still


def test_a_growing_gradient_within_bounds_is_no_explosion():
    assert watch([*healthy(2 * WINDOW), result(norm=50.0)])[1] == {}


def wandering(count, slope):
    """Losses of different batches around a straight line."""
    noise = torch.randn(count, generator=torch.Generator().manual_seed(0)).tolist()
    return [result(-1.0 + slope * i + 0.05 * e, 5.0) for i, e in enumerate(noise)]


@pytest.mark.parametrize("still", [wandering(4 * WINDOW, 0.0), [result(-1.0, 5.0)] * 4 * WINDOW], ids=["noise", "flat"])
def test_a_loss_that_does_not_move(still):
    assert watch(still[: 2 * WINDOW - 1])[1] == {}
    said, found = watch(still)
    assert list(found) == ["loss does not move"]
    assert found["loss does not move"].startswith(f"iteration {2 * WINDOW}: its mean over {WINDOW} iterations is -")
    assert len(said) == 1
    assert watch(still, warmup=2 * WINDOW + 1)[1]["loss does not move"].startswith(f"iteration {4 * WINDOW}: ")
    assert watch(still, warmup=WINDOW)[1]["loss does not move"].startswith(f"iteration {2 * WINDOW}: ")
    assert watch(still, warmup=4 * WINDOW)[1] == {}


def test_a_loss_that_has_moved_once_may_rest():
    moved = wandering(3 * WINDOW, -0.03)
    assert watch([*moved, *[result(moved[0].loss, 5.0)] * 4 * WINDOW])[1] == {}


def test_a_step_that_the_scaler_passed_over_is_no_explosion():
    assert watch([*healthy(2 * WINDOW), result(norm=math.inf), result(norm=math.nan)])[1] == {}


def test_the_watch_goes_on_after_a_resume_as_if_uninterrupted():
    results = [*wandering(4 * WINDOW, 0.0), result(norm=700.0), *healthy(WINDOW)]
    whole = watch(results)[1]
    assert set(whole) == {"loss does not move", "exploding gradient"}
    for cut in (3, WINDOW, 2 * WINDOW - 1, 3 * WINDOW + 1, 4 * WINDOW + 1):
        first = FailureSignatures(lambda text: None, window=WINDOW)
        run(first, results[:cut])
        second = FailureSignatures(lambda text: None, window=WINDOW)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        run(second, results[cut:], begin=cut)
        assert second.found == whole
        assert second.state_dict()["norms"] == [r.gradient_norm for r in results[-WINDOW:]]


def test_the_warning_of_the_loss_is_passed_on():
    last = result()
    last.warning = "rho is 0.99 in uniformity"
    assert watch([last])[1] == {"series": "iteration 1: rho is 0.99 in uniformity"}


def test_unreadable_images_are_named_once_and_end_the_run_beyond_one_per_cent():
    said = []
    hook, last = UnreadableImages(said.append), result()
    hook.trainer = SimpleNamespace(last=last, paths=range(200), logs_this_step=True)
    last.unreadable = ("a.jpg", "b.jpg", "a.jpg")
    hook.after_step()
    assert said == [f"cannot be read, replaced by another image: {name}" for name in ("a.jpg", "b.jpg")]
    last.unreadable = ("c.jpg",)
    with pytest.raises(RunFailed, match=r"3 of 200 images cannot be read, more than 1 % \(a.jpg, b.jpg, c.jpg\)"):
        hook.after_step()


@pytest.mark.parametrize(("epochs", "every"), [(1, 0), (49, 10), (50, 50), (120, 50)])
def test_numbered_checkpoints_and_the_backbone_are_those_of_completed_epochs(tmp_path, epochs, every):
    """Names count completed epochs; in the middle of one nothing is written."""
    length = 2
    trainer = SimpleNamespace(
        config=config(epochs=epochs, keep_every=every, keep_epochs=(1,)),
        iterations_per_epoch=length,
        method=SimpleNamespace(encoder=torch.nn.Linear(1, 1)),
    )
    files = EpochFiles(tmp_path, trainer)
    for trainer.iteration in range(1, epochs * length + 1):
        trainer.epoch = trainer.iteration // length
        files({"model": {}, "epoch": trainer.epoch})
        assert (tmp_path / "backbone.safetensors").exists() == (trainer.iteration >= length)
    kept = {1, *(range(every, epochs + 1, every) if every else ())}
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"backbone.safetensors", *(f"checkpoint_{epoch:04d}.pth" for epoch in kept)}
    assert all(load_checkpoint(tmp_path / f"checkpoint_{epoch:04d}.pth")["epoch"] == epoch for epoch in kept)
