"""Ratios of interleaved pairs: what a speed claim is made of here, since absolute times depend on the machine."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Medians over pairs: ``ratio`` = first / second of each pair, and the seconds of each."""

    ratio: float
    first_s: float
    second_s: float


def interleaved(first: Callable[[], object], second: Callable[[], object], pairs: int = 5) -> Timing:
    """Time `first` and `second` alternately, after one unmeasured call of each, and return the medians."""
    first()
    second()
    firsts, seconds = [], []
    for i in range(pairs):
        order = ((first, firsts), (second, seconds))
        for function, times in order if i % 2 == 0 else order[::-1]:
            begin = time.perf_counter()
            function()
            times.append(time.perf_counter() - begin)
    ratios = [a / b for a, b in zip(firsts, seconds, strict=True)]
    return Timing(statistics.median(ratios), statistics.median(firsts), statistics.median(seconds))
