"""Schedules of learning rates, EMA momentum and weights of losses: functions of the iteration, counted from 0.

W: iterations of the warm-up, L: iterations of an epoch, total: of the whole run.

A cosine depends on the share of the run that is done (fvcore's schedulers, which these are made of), so runs of 400
and 800 epochs have the same shape. A warm-up has a length in iterations of its own. Nothing here has a state: a
resumed run needs only the number of its iteration.

Which recipe is which, with the source of each (all equal the released values to 1e-9, see tests):

====================  ================================================================================================
recipe                schedule
====================  ================================================================================================
Kernel-SSL, MEC       ``warm_up(cosine(peak, 0.0, total - W), peak, W, "linspace")``; MEC@35045dc0
                      main_pretrain.py:201, 273.
                      EMA: ``cosine(0.996, 1.0, total)``. The factor ``warmup`` of MEC's lamda_inv:
                      ``warm_up(constant(1.0), 1.0, W, "linspace", start=8.0)`` (:283, 488-497)
SwAV                  the same from 0.3 (``start``) to ``peak / 1000``; swav@06b1b7cb main_swav.py:178-182
SimCLR, BYOL          ``warm_up(cosine(peak, 0.0, total - W), peak, W, "ratio")``; simclr@383d4143 model_util.py:53-83,
                      deepmind-research@f5de0ede byol/utils/schedules.py:27-43; BYOL's EMA: ``cosine(base, 1.0, total)``
Barlow Twins, VICReg  the same to ``peak / 1000``; barlowtwins@8e8d284c main.py:155-168, vicreg@4e12602f
                      main_vicreg.py:167-181
SimSiam, MoCo v2      ``per_epoch(cosine(peak, 0.0, epochs), L)``, SimSiam's predictor ``constant(peak)``;
                      simsiam@a7bc1772 main_simsiam.py:359-366, moco@7397dfe1 main_moco.py:488-497
MoCo v1, supervised   ``per_epoch(steps(peak, [120, 160]), L)``, ``per_epoch(steps(peak, [30, 60]), L)``;
                      main_moco.py:488-497, pytorch/examples@77f55b91 imagenet/main.py:206
====================  ================================================================================================
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Literal

from fvcore.common.param_scheduler import CosineParamScheduler, LinearParamScheduler

Schedule = Callable[[int], float]
WarmUp = Literal["linspace", "ratio"]


def constant(value: float) -> Schedule:
    """Return `value` at every iteration."""
    return lambda iteration: value


def cosine(start: float, final: float, total: int) -> Schedule:
    """Return half a cosine from `start` at iteration 0 to `final` at iteration `total`, which is after the last one."""
    _check_length("total", total)
    along = CosineParamScheduler(start, final)
    return lambda iteration: along(iteration / total)


def steps(start: float, milestones: Sequence[int], factor: float = 0.1) -> Schedule:
    """Return `start` times `factor` for every milestone that is reached; `milestones` ascend."""
    return lambda iteration: start * factor ** bisect_right(milestones, iteration)


def per_epoch(by_epoch: Schedule, iterations_per_epoch: int) -> Schedule:
    """Return a schedule whose value is that of `by_epoch` at the epoch, the same throughout each epoch."""
    _check_length("iterations_per_epoch", iterations_per_epoch)
    return lambda iteration: by_epoch(iteration // iterations_per_epoch)


def warm_up(after: Schedule, peak: float, length: int, rule: WarmUp, start: float = 0.0) -> Schedule:
    """Return `length` iterations of a straight line from `start` to `peak`, then `after`, counted from there.

    Args:
        after: the schedule of the rest, whose iteration 0 is the first after the warm-up.
        peak: where the line leads to.  length: in iterations; 0: no warm-up.
        rule: ``linspace``: the line reaches the peak in its last iteration, as NumPy's ``linspace(start, peak,
            length)`` does, so that the peak stands there twice. ``ratio``: it would reach the peak in the first
            iteration after it, so each iteration i has i / length of the way.
    """
    if rule not in ("linspace", "ratio"):
        raise ValueError(f"rule is {rule!r}; it must be 'linspace' or 'ratio'.")
    line = LinearParamScheduler(start, peak)
    whole = max(length - 1, 1) if rule == "linspace" else length
    return lambda iteration: line(iteration / whole) if iteration < length else after(iteration - length)


def _check_length(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is {value}; it must be 1 or more.")


def ema_momentum(start: float) -> Callable[[float], float]:
    """Return a cosine from `start` to 1 as a function of the share of the run that is done, from 0 to 1.

    At 1 the momentum branch stands still. Source: byol/utils/schedules.py:20-24; MEC's and Kernel-SSL's are the same.
    """
    return CosineParamScheduler(start, 1.0)
