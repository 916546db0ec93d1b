"""Spectra of features and what is read off them: effective ranks, entropy, the decay exponent. Always in float64.

An effective rank means nothing without its definition and sample count: the same features gave 140 by singular values
and 73 by covariance eigenvalues, and 54 / 122 / 138 / 140 for 64 / 256 / 1024 / 2048 samples.
"""

import math

import torch
from torch import Tensor

DEFINITIONS = ("covariance", "singular_values")
DECAY_RANKS = (4, 100)  # of the eigenvalues that the decay exponent is fitted to, as its authors' code has them


def spectrum(features: Tensor, definition: str = "covariance") -> Tensor:
    """Return the spectrum of (n, d) features, descending, float64, min(n, d) values.

    covariance: eigenvalues of the centred covariance (divided by n). singular_values: of the uncentred matrix (RankMe,
    arXiv 2210.02885). Raises ``ValueError`` for another definition, fewer than 2 rows or non-finite features.
    """
    if definition not in DEFINITIONS:
        raise ValueError(f"definition {definition!r} is none of {', '.join(DEFINITIONS)}")
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must be (n, d) with n >= 2, got {tuple(features.shape)}")
    rows = features.detach().double()
    if not torch.isfinite(rows).all():
        raise ValueError("features hold NaN or infinity")
    if definition == "singular_values":
        return torch.linalg.svdvals(rows)
    return eigenvalues(rows - rows.mean(0)) / len(rows)


def eigenvalues(rows: Tensor) -> Tensor:
    """Return the eigenvalues of ``rows' rows``, descending, min(n, d) values >= 0, for (n, d) float64 rows.

    They are the squares of the singular values, several times faster by the smaller product; below 1e-16 of the
    largest they are rounding.
    """
    product = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    return torch.linalg.eigvalsh(product).flip(0).clamp_min(0)


def entropy(values: Tensor) -> float:
    """Return the Shannon entropy, in nats, of non-negative values normalised to sum 1; 0 when all are zero."""
    total = values.sum()
    if not total > 0:
        return 0.0
    shares = values / total
    return float(torch.special.entr(shares).sum())


def effective_rank(features: Tensor, definition: str = "covariance") -> float:
    """Return exp of the entropy of the normalised spectrum (Roy & Vetterli 2007), in [1, min(n, d)].

    1 means one direction (or no variation at all); d means isotropic. For (n, d) features, see ``spectrum``.
    """
    return math.exp(entropy(spectrum(features, definition)))


def decay_exponent(values: Tensor) -> float:
    """Return alpha of lambda_j ~ j^-alpha for a descending spectrum (alpha-ReQ, Agrawal et al. 2022).

    Least squares of log lambda_j on log j over the ranks j = 4 to 100, weighted by 1 / j, as the authors' code fits it
    (their paper names neither range nor weights); near 1 is held to be good, larger decays faster. NaN when fewer than
    3 eigenvalues above 1e-12 of the largest have these ranks.
    """
    first, last = DECAY_RANKS
    ranks = torch.arange(first, min(last, len(values)) + 1, dtype=torch.float64)
    chosen = values[first - 1 : last]
    kept = chosen > 1e-12 * values[0]
    if kept.sum() < 3:
        return math.nan
    x, y, weights = ranks[kept].log(), chosen[kept].log(), 1 / ranks[kept]
    x, y = x - (weights * x).sum() / weights.sum(), y - (weights * y).sum() / weights.sum()
    return -float((weights * x * y).sum() / (weights * x * x).sum())
