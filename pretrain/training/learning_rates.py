"""The learning rate of a run, as its config describes it, out of the schedules of ``schedules.py``."""

from collections.abc import Iterable

from pretrain.methods.base import ParameterGroup
from pretrain.training.config import PretrainConfig
from pretrain.training.schedules import Schedule, constant, cosine, per_epoch, steps, warm_up


def learning_rate(config: PretrainConfig, group: ParameterGroup, iterations_per_epoch: int) -> Schedule:
    """Return the learning rate of a group of parameters at each iteration, counted from 0.

    The peak is ``config.lr``, or the group's own, scaled with the batch. A group that is constant stays at its peak.
    """
    peak = config.scaled(config.lr if group.lr is None else group.lr)
    if group.constant:
        return constant(peak)
    total, length = config.epochs * iterations_per_epoch, round(config.warmup * iterations_per_epoch)
    if config.lr_schedule == "cosine" and config.lr_changes == "step":
        after = cosine(peak, config.lr_final * peak, total - length)
    else:
        whole = _by_epoch(config, peak)
        along = per_epoch(whole, iterations_per_epoch)
        after = lambda iteration: along(iteration + length)  # noqa: E731  epochs count from the run's beginning
    start = config.warmup_lr * peak / config.scaled_lr
    return warm_up(after, peak, length, config.warmup_rule, start) if length else after


def _by_epoch(config: PretrainConfig, peak: float) -> Schedule:
    if config.lr_schedule == "steps":
        return steps(peak, drops(config.lr_drops, config.epochs))
    return cosine(peak, config.lr_final * peak, config.epochs)


def drops(shares: Iterable[float], epochs: int) -> list[int]:
    """Return the epochs after which the learning rate drops, one after the other, none before the first epoch ends.

    In a run of few epochs, shares round to one epoch, or to none: the later drops then come later or not at all.
    """
    after: list[int] = []
    for share in shares:
        after.append(max(round(share * epochs), after[-1] + 1 if after else 1))
    return after
