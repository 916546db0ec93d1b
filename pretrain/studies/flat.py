"""The objective in closed form where the branches agree: a function of the spectrum alone (docs/loss.md, "What the
objective prefers"). Imports no torch.
"""

import math


def log_value(x: float, order: int | None) -> float:
    """Return log(x) for x > 0, exact (`order` None) or by the Taylor series at 1 to `order`."""
    if order is None:
        return math.log(x)
    return sum((-1) ** (k + 1) * (x - 1) ** k / k for k in range(1, order + 1))


def flat_loss(rank: int, width: int, mu: float, lam: float, gamma: float, order: int | None) -> float:
    """Return U + gamma A for a flat spectrum: C(p, z) = C(p, p) = C(z, z) with `rank` eigenvalues 1 / rank.

    Args:
        rank: in 1..width.  width: dimension d; the other eigenvalues are 0.
        mu, lam, gamma: as in the loss.  order: of the Taylor logarithm, None: exact.
    """
    varying, still = log_value(mu + 1 / rank, order), log_value(mu, order) if width > rank else 0.0
    uniformity = -lam * (rank * varying + (width - rank) * still)
    alignment = -(rank * (mu + 1 / rank) * varying + (width - rank) * mu * still)
    return uniformity + gamma * alignment
