"""Which of the training images to use: a share (``--fraction``) and a hold-out, chosen by a seed."""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

Identity = TypeVar("Identity", int, str)


@dataclass(frozen=True)
class Choice:
    """A share in (0, 1] of the training images, a hold-out in (0, 1) of that share, and the seed of both.

    The order of images that a seed gives does not depend on the share: smaller shares lie inside larger ones. It is
    an order by hash, which no version of a random number generator can change, because records hold subsets.
    """

    fraction: float | None
    seed: int
    holdout: float | None

    def subset(self, ids: Iterable[Identity]) -> list[Identity]:
        """Return the sorted ids of the share `fraction`: the first ceil(fraction * n) in the seed's order, or all."""
        ids = sorted(ids)
        return ids if self.fraction is None else sorted(self._order(ids, "fraction")[: _count(self.fraction, len(ids))])

    def held_out(self, ids: Iterable[Identity], total: int) -> list[Identity]:
        """Return the sorted ids of the hold-out: ceil(holdout * total) of `ids`, or none without a hold-out."""
        return sorted(self._order(ids, "holdout")[: _count(self.holdout or 0, total)])

    def identity(self) -> list[float | int | None]:
        """Return what distinguishes one choice from another; without a share the seed chooses nothing."""
        chooses = self.fraction is not None or self.holdout is not None
        return [self.fraction, self.holdout, self.seed if chooses else None]

    def _order(self, ids: Iterable[Identity], purpose: str) -> list[Identity]:
        def key(identity: Identity) -> bytes:
            return hashlib.sha256(f"{purpose} {self.seed} {identity}".encode()).digest()

        return sorted(ids, key=key)


def _count(share: float, total: int) -> int:
    """Return ceil(share * total) of the decimal number that was written: 0.07 of 100 is 7, not 8."""
    return math.ceil(Fraction(str(share)) * total)
